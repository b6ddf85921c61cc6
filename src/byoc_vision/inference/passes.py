"""Turns one image into model inputs, and the logits of these inputs into the image's prediction.

A pass yields its inputs one by one, so that its caller decides how many of them are in memory and can batch them with
the inputs of other images. The pass then takes their logits in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from byoc_vision.artifact import ModelConfig
from byoc_vision.errors import InputError
from byoc_vision.inference import postprocess
from byoc_vision.inference.engines.base import Logits
from byoc_vision.inference.predictor import Prediction, Predictor, Prepared, Segmentation, on_cpu
from byoc_vision.inference.tiling import Axis, Blender, Grid, LabelAccumulator, ProbabilityAccumulator, Tile
from byoc_vision.inference.tta import Axes, Views, average, flip, unflip, view_axes

MAX_BLENDING = 2**30  # bytes


@dataclass(frozen=True)
class InferenceOptions:
    """How to run the model on an image.

    tile: the longer side of the tiles in pixels of the image, which have the model input's proportions; None: no tiles.
    views: which mirror images the prediction averages.
    threshold: of a sigmoid's probability, instead of the model config's.
    probabilities: whether the caller needs the probabilities of a mask, and not only its classes.
    """

    tile: Tile | None = None
    views: Views = "none"
    threshold: float | None = None
    probabilities: bool = False


def make_pass(predictor: Predictor, rgb: np.ndarray, options: InferenceOptions) -> Pass:
    """The pass for a decoded image, uint8 RGB [H, W, 3].

    Raises InputError if the tiles need too much memory, or if the model does not support the options.
    """
    check_options(predictor.config, options)
    if options.tile is None:
        return WholePass(predictor, rgb, options)
    return TiledPass(predictor, rgb, options, make_grid(predictor.config, rgb.shape[0], rgb.shape[1], options.tile))


def check_options(config: ModelConfig, options: InferenceOptions) -> None:
    """Raises InputError if a model does not support the options."""
    if options.tile is not None and config.task != "segmentation":
        raise InputError("tile is for masks; a classifier needs the whole image: remove tile")
    if options.threshold is not None and config.activation != "sigmoid":
        raise InputError(
            "threshold is for models with a sigmoid; this one predicts the most probable of its classes: "
            "remove threshold"
        )


def run_pass(predictor: Predictor, image_pass: Pass, batch_size: int = 8) -> Prediction:
    """Run a pass on its own, in batches of `batch_size` inputs. Returns the image's prediction."""
    inputs = image_pass.inputs()
    while batch := [prepared.pixels for prepared in islice(inputs, batch_size)]:
        for logits in predictor.forward(np.stack(batch)):
            image_pass.add(logits)
    return image_pass.prediction()


def make_grid(config: ModelConfig, height: int, width: int, tile: Tile) -> Grid:
    """The tiles of an image of this size. Raises InputError if they need too much memory."""
    rule = config.preprocess
    scale = 1.0 if tile == "auto" else tile / max(rule.height, rule.width)
    rows = Axis(height, max(1, round(rule.height * scale)))
    columns = Axis(width, max(1, round(rule.width * scale)))
    grid = Grid(rows, columns, config.model.outputs)
    if grid.blending_bytes > MAX_BLENDING:
        raise InputError(
            f"tiles of {grid.rows.tile} × {grid.columns.tile} pixels with {grid.planes} classes need "
            f"{grid.blending_bytes / 2**30:.1f} GiB to blend, more than {MAX_BLENDING / 2**30:g}; use smaller tiles"
        )
    return grid


class WholePass:
    """A pass over the whole image, in one or several views."""

    def __init__(self, predictor: Predictor, rgb: np.ndarray, options: InferenceOptions) -> None:
        self._predictor = predictor
        self._prepared = predictor.prepare(rgb)
        self._options = options
        self._mean = _ViewMean(options.views, predictor.config.activation)
        self._logits: Logits | None = None

    def inputs(self) -> Iterator[Prepared]:
        """The inputs for the model, in order."""
        return self._mean.views(self._prepared)

    def add(self, logits: Logits) -> bool:
        """Add the logits of the next input. Returns whether they were the last."""
        self._logits = self._mean.add(logits)
        return self._logits is not None

    def prediction(self) -> Prediction:
        """The image's prediction; call it once, after the last logits."""
        assert self._logits is not None, "call prediction() after the last logits"
        return self._predictor.finish(self._logits, self._prepared, self._options.threshold)


class TiledPass:
    """A pass over an image's tiles, each in one or several views. Its methods are those of `WholePass`."""

    def __init__(self, predictor: Predictor, rgb: np.ndarray, options: InferenceOptions, grid: Grid) -> None:
        config, (height, width) = predictor.config, rgb.shape[:2]
        self._predictor = predictor
        self._rgb = rgb
        self._grid = grid
        self._mean = _ViewMean(options.views, config.activation)
        logit_threshold = (
            postprocess.logit(options.threshold or config.threshold) if config.activation == "sigmoid" else None
        )
        self._accumulator = (
            ProbabilityAccumulator(height, width, grid.planes, logit_threshold)
            if options.probabilities
            else LabelAccumulator(height, width, logit_threshold)
        )
        self._blender = Blender(grid, self._accumulator)
        self._done = 0

    def inputs(self) -> Iterator[Prepared]:
        for position in self._grid.positions:
            yield from self._mean.views(self._predictor.prepare(self._grid.crop(self._rgb, position)))

    def add(self, logits: Logits) -> bool:
        mean = self._mean.add(logits)
        if mean is not None:
            rule, grid = self._predictor.config.preprocess, self._grid
            planes = (rule.restore(plane, grid.rows.tile, grid.columns.tile) for plane in on_cpu(mean))
            self._blender.add(grid.positions[self._done], planes)
            self._done += 1
        return self._done == len(self._grid.positions)

    def prediction(self) -> Prediction:
        config = self._predictor.config
        labels = postprocess.without_small_parts(self._accumulator.labels, config.min_area)
        return Segmentation(labels, config.classes, self._probabilities)

    def _probabilities(self) -> np.ndarray:
        assert isinstance(self._accumulator, ProbabilityAccumulator), (
            "probabilities are only kept with InferenceOptions(probabilities=True)"
        )
        return self._accumulator.probabilities()


Pass = WholePass | TiledPass


class _ViewMean:
    """Splits an input into its views, and averages the views' logits."""

    def __init__(self, views: Views, activation: str) -> None:
        self._axes = view_axes(views)
        self._activation = activation
        self._logits: list[np.ndarray] = []

    def views(self, prepared: Prepared) -> Iterator[Prepared]:
        return (replace(prepared, pixels=flip(prepared.pixels, axes)) for axes in self._axes)

    def add(self, logits: Logits) -> Logits | None:
        """Add the logits of the next view. Returns the mean after the last view, else None."""
        if len(self._axes) == 1:
            return logits  # they stay on their device
        axes: Axes = self._axes[len(self._logits)]
        self._logits.append(unflip(on_cpu(logits), axes))
        if len(self._logits) < len(self._axes):
            return None
        of_views, self._logits = self._logits, []
        return average(of_views, self._activation)
