"""Splits large images into overlapping tiles and blends their logits; memory does not grow with the image's height.

As in the overlap-tile strategy of U-Net (Ronneberger et al. 2015), missing context at an image's edge is mirrored;
and as in nnU-Net's and MONAI's sliding windows, logits are averaged with weights that fall towards a tile's edges. Here
the weights are a Hann window, scaled to sum to 1 over all tiles that cover a pixel.

A pixel is finished after the last tile that covers it. So only the logits that later tiles add to are kept: a stripe
below the finished tiles, and one to the right of the last tile. If even the stripe is too large (hundreds of
classes, wide images), the image is split into panels side by side; the last tiles of a panel are computed twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import ceil
from typing import Literal, NamedTuple

import cv2
import numpy as np

from byoc_vision.inference.postprocess import take_higher
from byoc_vision.preprocess import with_bands

Tile = int | Literal["auto"]  # the side of a square in pixels of the image; auto: the model's input size

OVERLAP = 0.25  # of a tile, at the least
STRIPE_BYTES = 2**28  # of the stripe below the finished tiles
_FEWEST_COLUMNS = 4  # of tiles in a panel
_FLOAT_BYTES = 4
_ROWS_AT_ONCE = 256  # converted to probabilities


class Axis:
    """The tiles along one side of an image.

    starts: the first pixel of each tile; the tiles are spread evenly. An image shorter than a tile has one tile.
    """

    def __init__(self, length: int, tile: int) -> None:
        """length, tile: the sides of the image and of a tile, in pixels."""
        self.tile = tile
        self.length = max(length, tile)
        room = self.length - tile
        steps = ceil(room / max(1, int(tile * (1 - OVERLAP))))
        self.starts = [round(index * room / steps) for index in range(steps + 1)] if steps else [0]

    def __len__(self) -> int:
        return len(self.starts)

    def step(self, index: int) -> int:
        """How many pixels this tile finishes: those before the next tile."""
        following = self.starts[index + 1] if index + 1 < len(self.starts) else self.length
        return following - self.starts[index]

    @property
    def carried(self) -> int:
        """The largest number of a tile's pixels that later tiles add to."""
        return max(self.tile - self.step(index) for index in range(len(self.starts)))

    @cached_property
    def weights(self) -> list[np.ndarray]:
        """The weights of each tile's pixels, float32 [tile]; they sum to 1 over all tiles that cover a pixel."""
        window = np.sin(np.pi * (np.arange(self.tile) + 0.5) / self.tile) ** 2
        total = np.zeros(self.length)
        for start in self.starts:
            total[start : start + self.tile] += window
        return [(window / total[start : start + self.tile]).astype(np.float32) for start in self.starts]


class Panel(NamedTuple):
    """Columns of tiles `first` … `last` - 1, computed together. Columns from `lead_in` on overlap it."""

    lead_in: int
    first: int
    last: int


class TilePosition(NamedTuple):
    """A tile's row and column, and the panel for which it is computed."""

    row: int
    column: int
    panel: Panel


@dataclass(frozen=True)
class Grid:
    """The tiles of an image.

    planes: the number of logits per pixel. stripe_bytes: the memory limit of the stripe of logits below the finished
    tiles; a panel of only a few tiles may exceed it.
    """

    rows: Axis
    columns: Axis
    planes: int
    stripe_bytes: int = STRIPE_BYTES

    @cached_property
    def panels(self) -> list[Panel]:
        starts, tile = self.columns.starts, self.columns.tile
        affordable = self.stripe_bytes // max(1, self.rows.carried * self.planes * _FLOAT_BYTES * tile)
        bounds = [*range(0, len(starts), max(_FEWEST_COLUMNS, affordable)), len(starts)]
        return [
            Panel(next(column for column, start in enumerate(starts) if start + tile > starts[first]), first, last)
            for first, last in pairwise(bounds)
        ]

    @cached_property
    def positions(self) -> list[TilePosition]:
        """All tiles in order: panel by panel, row by row."""
        return [
            TilePosition(row, column, panel)
            for panel in self.panels
            for row in range(len(self.rows))
            for column in range(panel.lead_in, panel.last)
        ]

    @property
    def blending_bytes(self) -> int:
        """The memory of the stripes below and to the right."""
        pixels = self.rows.carried * self.widest + self.rows.tile * self.columns.carried
        return pixels * self.planes * _FLOAT_BYTES

    @property
    def widest(self) -> int:
        """The width of the widest panel, from its first tile to the end of its last, in pixels."""
        starts, tile = self.columns.starts, self.columns.tile
        return max(starts[panel.last - 1] + tile - starts[panel.first] for panel in self.panels)

    def crop(self, rgb: np.ndarray, position: TilePosition) -> np.ndarray:
        """A tile of the image, uint8 [H, W, 3] → [tile, tile, 3]; beyond the edges, the image is mirrored."""
        top, left = self.rows.starts[position.row], self.columns.starts[position.column]
        part = rgb[top : top + self.rows.tile, left : left + self.columns.tile]
        below, right = self.rows.tile - part.shape[0], self.columns.tile - part.shape[1]
        if not (below or right):
            return part
        return with_bands(cv2.copyMakeBorder(part, 0, below, 0, right, cv2.BORDER_REFLECT), part)


class LabelAccumulator:
    """The class of each pixel, uint8 [H, W]; logits arrive class by class.

    logit_threshold: with a single plane, the logit above which a pixel has the second class; None with several planes,
    of which the highest decides.
    """

    def __init__(self, height: int, width: int, logit_threshold: float | None) -> None:
        self.labels = np.zeros((height, width), np.uint8)
        self._logit_threshold = logit_threshold
        self._best = np.empty((0, 0), np.float32)

    def put(self, index: int, top: int, left: int, logits: np.ndarray) -> None:
        """Store the logits [h, w] of class `index` for the pixels from (top, left) on; those outside are dropped.

        Cells do not overlap and together cover the image; the classes of a cell come in order.
        """
        labels = self.labels[top : top + logits.shape[0], left : left + logits.shape[1]]
        logits = logits[: labels.shape[0], : labels.shape[1]]
        if self._logit_threshold is not None:
            labels[:] = logits > self._logit_threshold
        elif index == 0:
            self._best = logits.copy()
            labels[:] = 0
        else:
            take_higher(labels, self._best, logits, index)


class ProbabilityAccumulator(LabelAccumulator):
    """Also collects every class's probability, float32 [K, H, W]; for images whose probabilities fit in memory."""

    def __init__(self, height: int, width: int, planes: int, logit_threshold: float | None) -> None:
        super().__init__(height, width, logit_threshold)
        # A single plane stands for two classes.
        self._planes = np.zeros((planes if logit_threshold is None else 2, height, width), np.float32)

    def put(self, index: int, top: int, left: int, logits: np.ndarray) -> None:
        super().put(index, top, left, logits)
        plane = self._planes[index if self._logit_threshold is None else 1]
        target = plane[top : top + logits.shape[0], left : left + logits.shape[1]]
        target[:] = logits[: target.shape[0], : target.shape[1]]

    def probabilities(self) -> np.ndarray:
        """The probabilities; call it once, after all logits, because it overwrites them."""
        for top in range(0, self._planes.shape[1], _ROWS_AT_ONCE):
            stripe = self._planes[:, top : top + _ROWS_AT_ONCE]
            # A sigmoid is the softmax of 0 and the logit.
            stripe -= stripe.max(axis=0)
            np.exp(stripe, out=stripe)
            stripe /= stripe.sum(axis=0)
        return self._planes


class Blender:
    """Blends tiles in the order of `Grid.positions` and passes finished logits to an accumulator."""

    def __init__(self, grid: Grid, accumulator: LabelAccumulator) -> None:
        self._grid = grid
        self._accumulator = accumulator
        self._below = np.zeros((grid.planes, grid.rows.carried, grid.widest), np.float32)
        self._right = np.zeros((grid.planes, grid.rows.tile, grid.columns.carried), np.float32)

    def add(self, position: TilePosition, planes: Iterable[np.ndarray]) -> None:
        """Add a tile's logits, class by class, each float32 [tile, tile]."""
        window = np.outer(self._grid.rows.weights[position.row], self._grid.columns.weights[position.column])
        for index, plane in enumerate(planes):
            complete = self._add_across(position, index, plane * window)
            if complete is not None:
                self._add_down(position, index, complete)

    def _add_across(self, position: TilePosition, index: int, plane: np.ndarray) -> np.ndarray | None:
        """Add the left tile's overlap to a weighted plane. Returns the columns that no tile to the right changes."""
        columns = self._grid.columns
        if position.column > position.panel.lead_in:
            before = columns.tile - columns.step(position.column - 1)
            plane[:, :before] += self._right[index, :, :before]
        step = columns.step(position.column)
        self._right[index, :, : columns.tile - step] = plane[:, step:]
        return plane[:, :step] if position.column >= position.panel.first else None

    def _add_down(self, position: TilePosition, index: int, plane: np.ndarray) -> None:
        rows, left = self._grid.rows, self._grid.columns.starts[position.column]
        within = left - self._grid.columns.starts[position.panel.first]
        below = self._below[index, :, within : within + plane.shape[1]]
        if position.row > 0:
            before = rows.tile - rows.step(position.row - 1)
            plane[:before] += below[:before]
        step = rows.step(position.row)
        below[: rows.tile - step] = plane[step:]
        self._accumulator.put(index, rows.starts[position.row], left, plane[:step])
