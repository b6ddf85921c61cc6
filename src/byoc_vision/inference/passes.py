"""What goes through the model for one image, and how what comes out becomes its answer.

A pass gives its inputs one by one, so that whoever computes them, together with those of others, decides how many lie
in memory; and takes their logits in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Protocol

import numpy as np

from byoc_vision.artifact import ModelConfig
from byoc_vision.errors import InputError
from byoc_vision.inference import postprocess
from byoc_vision.inference.engines.base import Logits
from byoc_vision.inference.predictor import Answer, Predictor, Prepared, Segmentation, on_cpu
from byoc_vision.inference.tile_accumulator import LabelAccumulator, ProbabilityAccumulator
from byoc_vision.inference.tiling import Axis, Blender, Grid, Tile
from byoc_vision.inference.tta import Axes, Views, average, look, look_back, view_axes

MAX_BLENDING = 2**30  # bytes


@dataclass(frozen=True)
class InferenceOptions:
    """How the model looks at an image.

    tile: the longer side of tiles in pixels of the image, in the proportions of the model's input; None: whole.
    threshold: where a sigmoid says yes, instead of the model config's.
    probabilities: whether they will be asked of the answer; the pixels' classes always are.
    """

    tile: Tile | None = None
    views: Views = "none"
    threshold: float | None = None
    probabilities: bool = False


class Pass(Protocol):
    """One image's way through the model."""

    def inputs(self) -> Iterator[Prepared]:
        """What the model is to compute."""
        ...

    def add(self, logits: Logits) -> bool:
        """Take the logits of the next input; whether they were the last."""
        ...

    def answer(self) -> Answer:
        """To be called once, after the last logits."""
        ...


def make_pass(predictor: Predictor, rgb: np.ndarray, options: InferenceOptions) -> Pass:
    """The pass of a decoded image, uint8 RGB [H, W, 3].

    Raises InputError where tiles take too much memory, and what `check_looks` raises.
    """
    check_options(predictor.config, options)
    if options.tile is None:
        return WholePass(predictor, rgb, options)
    return TiledPass(predictor, rgb, options, make_grid(predictor.config, rgb.shape[0], rgb.shape[1], options.tile))


def check_options(config: ModelConfig, options: InferenceOptions) -> None:
    """Raises InputError where a model cannot look so at any image."""
    if options.tile is not None and config.task != "segmentation":
        raise InputError("tile is for masks; a classifier looks at the whole image: leave tile out")
    if options.threshold is not None and config.activation != "sigmoid":
        raise InputError(
            "threshold is for models that say yes or no; this one answers the most probable of its classes: "
            "leave threshold out"
        )


def run_pass(predictor: Predictor, going: Pass, batch_size: int = 8) -> Answer:
    """A pass from its first input to its answer, so many inputs at a time, where nobody else uses the model."""
    inputs = going.inputs()
    while batch := [prepared.pixels for prepared in islice(inputs, batch_size)]:
        for logits in predictor.forward(np.stack(batch)):
            going.add(logits)
    return going.answer()


def make_grid(config: ModelConfig, height: int, width: int, tile: Tile) -> Grid:
    """The tiles of an image of this size. Raises InputError where they take too much memory."""
    rule = config.preprocess
    scale = 1.0 if tile == "auto" else tile / max(rule.height, rule.width)
    rows = Axis(height, max(1, round(rule.height * scale)))
    columns = Axis(width, max(1, round(rule.width * scale)))
    grid = Grid(rows, columns, config.model.outputs)
    if grid.blending_bytes > MAX_BLENDING:
        raise InputError(
            f"tiles of {grid.rows.tile} × {grid.columns.tile} pixels with {grid.planes} classes take "
            f"{grid.blending_bytes / 2**30:.1f} GiB to blend, more than {MAX_BLENDING / 2**30:g}; take smaller tiles"
        )
    return grid


class WholePass:
    """The image as a whole, in one or several views."""

    def __init__(self, predictor: Predictor, rgb: np.ndarray, options: InferenceOptions) -> None:
        self._predictor = predictor
        self._prepared = predictor.prepare(rgb)
        self._looks = options
        self._mean = _ViewMean(options.views, predictor.config.activation)
        self._logits: Logits | None = None

    def inputs(self) -> Iterator[Prepared]:
        return self._mean.see(self._prepared)

    def add(self, logits: Logits) -> bool:
        self._logits = self._mean.add(logits)
        return self._logits is not None

    def answer(self) -> Answer:
        assert self._logits is not None, "an answer before the last logits"
        return self._predictor.finish(self._logits, self._prepared, self._looks.threshold)


class TiledPass:
    """The image tile by tile, each in one or several views."""

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
        for visit in self._grid.visits:
            yield from self._mean.see(self._predictor.prepare(self._grid.cut(self._rgb, visit)))

    def add(self, logits: Logits) -> bool:
        mean = self._mean.add(logits)
        if mean is not None:
            rule, grid = self._predictor.config.preprocess, self._grid
            planes = (rule.restore(plane, grid.rows.tile, grid.columns.tile) for plane in on_cpu(mean))
            self._blender.add(grid.visits[self._done], planes)
            self._done += 1
        return self._done == len(self._grid.visits)

    def answer(self) -> Answer:
        return Segmentation(self._accumulator.labels, self._predictor.config.classes, self._probabilities)

    def _probabilities(self) -> np.ndarray:
        assert isinstance(self._accumulator, ProbabilityAccumulator), (
            "probabilities that were not asked for were not kept"
        )
        return self._accumulator.probabilities()


class _ViewMean:
    """Takes one input apart into its views, and the views' logits together."""

    def __init__(self, views: Views, activation: str) -> None:
        self._axes = view_axes(views)
        self._activation = activation
        self._seen: list[np.ndarray] = []

    def see(self, prepared: Prepared) -> Iterator[Prepared]:
        return (replace(prepared, pixels=look(prepared.pixels, axes)) for axes in self._axes)

    def add(self, logits: Logits) -> Logits | None:
        """The mean, with the last of the views."""
        if len(self._axes) == 1:
            return logits  # which stay where they are
        axes: Axes = self._axes[len(self._seen)]
        self._seen.append(look_back(on_cpu(logits), axes))
        if len(self._seen) < len(self._axes):
            return None
        seen, self._seen = self._seen, []
        return average(seen, self._activation)
