"""Large images in overlapping tiles, blended with a window, in memory that does not grow with the image's height.

As in the overlap-tile strategy of U-Net (Ronneberger et al. 2015), missing context at an image's edge is mirrored;
and as in nnU-Net's and MONAI's sliding windows, logits are averaged with weights that fall towards a tile's edges. Here
the weights are Hann's window, made to sum to 1 over all tiles that cover a pixel.

A pixel is finished with the last tile that covers it. So of all classes' logits only those are kept that later tiles
add to: a stripe below the tiles done, and one right of the last. Where even the stripe is too large (hundreds of
classes, wide images) the image is done in panels side by side, whose neighbours' last tiles are computed twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import ceil
from typing import Literal, NamedTuple, Protocol

import cv2
import numpy as np

Tile = int | Literal["auto"]  # the side of a square in pixels of the image; auto: the model's input size

OVERLAP = 0.25  # of a tile, at the least
STRIPE_BYTES = 2**28  # of the stripe below the tiles done
_FEWEST_COLUMNS = 4  # of tiles in a panel
_FLOAT_BYTES = 4


class TileAccumulator(Protocol):
    """What takes the blended logits: class by class, in cells that do not overlap and cover the image."""

    def put(self, index: int, top: int, left: int, logits: np.ndarray) -> None:
        """Logits [h, w] of class `index`, of the pixels from (top, left) on."""
        ...


class Axis:
    """How the tiles lie along one side of an image.

    starts: the first pixel of each tile; the tiles are spread evenly. An image shorter than a tile has one.
    """

    def __init__(self, length: int, tile: int) -> None:
        """Both in pixels."""
        self.tile = tile
        self.length = max(length, tile)
        room = self.length - tile
        steps = ceil(room / max(1, int(tile * (1 - OVERLAP))))
        self.starts = [round(index * room / steps) for index in range(steps + 1)] if steps else [0]

    def __len__(self) -> int:
        return len(self.starts)

    def step(self, index: int) -> int:
        """How many pixels are finished with this tile: those before the next one."""
        following = self.starts[index + 1] if index + 1 < len(self.starts) else self.length
        return following - self.starts[index]

    @property
    def carried(self) -> int:
        """The most pixels of a tile that later ones add to."""
        return max(self.tile - self.step(index) for index in range(len(self.starts)))

    @cached_property
    def weights(self) -> list[np.ndarray]:
        """Of each tile's pixels, float32 [tile]; over all tiles that cover a pixel they sum to 1."""
        window = np.sin(np.pi * (np.arange(self.tile) + 0.5) / self.tile) ** 2
        total = np.zeros(self.length)
        for start in self.starts:
            total[start : start + self.tile] += window
        return [(window / total[start : start + self.tile]).astype(np.float32) for start in self.starts]


class Panel(NamedTuple):
    """Columns of tiles that are done together: `first` … `last` - 1. From `lead_in` on they reach into it."""

    lead_in: int
    first: int
    last: int


class Visit(NamedTuple):
    """A tile in its turn."""

    row: int
    column: int
    panel: Panel


@dataclass(frozen=True)
class Grid:
    """The tiles of an image.

    planes: the logits of a pixel. stripe_bytes: the most memory for the stripe of logits below the tiles done, unless
    that of a panel of a few tiles takes more.
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
    def visits(self) -> list[Visit]:
        """Every tile in its turn: panel by panel, row by row."""
        return [
            Visit(row, column, panel)
            for panel in self.panels
            for row in range(len(self.rows))
            for column in range(panel.lead_in, panel.last)
        ]

    @property
    def blending_bytes(self) -> int:
        """The memory that the stripes below and to the right take."""
        pixels = self.rows.carried * self.widest + self.rows.tile * self.columns.carried
        return pixels * self.planes * _FLOAT_BYTES

    @property
    def widest(self) -> int:
        """The pixels from the first tile of a panel to the end of its last, at the most."""
        starts, tile = self.columns.starts, self.columns.tile
        return max(starts[panel.last - 1] + tile - starts[panel.first] for panel in self.panels)

    def cut(self, rgb: np.ndarray, visit: Visit) -> np.ndarray:
        """A tile of the image, uint8 [H, W, 3] → [tile, tile, 3]; beyond the image's edges it is mirrored."""
        top, left = self.rows.starts[visit.row], self.columns.starts[visit.column]
        part = rgb[top : top + self.rows.tile, left : left + self.columns.tile]
        below, right = self.rows.tile - part.shape[0], self.columns.tile - part.shape[1]
        return cv2.copyMakeBorder(part, 0, below, 0, right, cv2.BORDER_REFLECT) if below or right else part


class Blender:
    """Adds tiles up, in the order of the grid's visits, and puts finished logits onto a canvas."""

    def __init__(self, grid: Grid, canvas: TileAccumulator) -> None:
        self._grid = grid
        self._accumulator = canvas
        self._below = np.zeros((grid.planes, grid.rows.carried, grid.widest), np.float32)
        self._right = np.zeros((grid.planes, grid.rows.tile, grid.columns.carried), np.float32)

    def add(self, visit: Visit, planes: Iterable[np.ndarray]) -> None:
        """A tile's logits, class by class, each float32 [tile, tile]."""
        window = np.outer(self._grid.rows.weights[visit.row], self._grid.columns.weights[visit.column])
        for index, plane in enumerate(planes):
            complete = self._add_across(visit, index, plane * window)
            if complete is not None:
                self._add_down(visit, index, complete)

    def _add_across(self, visit: Visit, index: int, plane: np.ndarray) -> np.ndarray | None:
        """The columns of a weighted plane that no tile to the right adds to, with what those to the left have added."""
        columns = self._grid.columns
        if visit.column > visit.panel.lead_in:
            before = columns.tile - columns.step(visit.column - 1)
            plane[:, :before] += self._right[index, :, :before]
        step = columns.step(visit.column)
        self._right[index, :, : columns.tile - step] = plane[:, step:]
        return plane[:, :step] if visit.column >= visit.panel.first else None

    def _add_down(self, visit: Visit, index: int, plane: np.ndarray) -> None:
        rows, left = self._grid.rows, self._grid.columns.starts[visit.column]
        within = left - self._grid.columns.starts[visit.panel.first]
        below = self._below[index, :, within : within + plane.shape[1]]
        if visit.row > 0:
            before = rows.tile - rows.step(visit.row - 1)
            plane[:before] += below[:before]
        step = rows.step(visit.row)
        below[: rows.tile - step] = plane[step:]
        self._accumulator.put(index, rows.starts[visit.row], left, plane[:step])
