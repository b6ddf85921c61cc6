"""Draws masks from polygons and run lengths, pixel for pixel as pycocotools does.

Source: cocoapi, common/maskApi.c: rleFrPoly, rleFrString, rleDecode.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import msgspec
import numpy as np

from byoc_vision.data.decoding import MAX_PIXELS
from byoc_vision.data.samples import DrawnMask
from byoc_vision.errors import DataError

_SCALE = 5  # pycocotools draws outlines so many times as fine as pixels
_MOST_BEYOND = 0.1  # of the image's side: a polygon that reaches farther out belongs to another image or size
_LEAST_BEYOND = 2  # pixels
_LEAST_POINTS = 3
_SIDES_OF_ELLIPSE = 72
_SHOWN = 3  # wrong shapes of an image


def draw_mask(mask: DrawnMask, size: tuple[int, ...]) -> np.ndarray:
    """The labels, uint8 [H, W]; later shapes lie over earlier ones.

    size: of the image, height and width, for a mask that does not know its own.
    Raises DataError that names the file, the entry and the shapes which cannot be drawn.
    """
    height, width = mask.size or size
    if not 0 < height * width <= MAX_PIXELS or height < 0:
        raise DataError(
            f"{mask} declares {width} × {height} pixels, but an image has 1 to {MAX_PIXELS:,}; export them again"
        )
    canvas = np.full(height * width, mask.background, np.uint8)  # column by column, as COCO counts
    problems = []
    for index, (value, outline) in enumerate(zip(mask.values, _outlines(mask), strict=True)):
        try:
            _draw(canvas, outline, value, height, width, is_relative=mask.is_relative)
        except (ValueError, TypeError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
            problems.append(f"shape {index + 1}: {error}")
    if problems:
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise DataError(f"{mask}, {'; '.join(problems[:_SHOWN])}{more}")
    return cv2.transpose(canvas.reshape(width, height))


def polygon(points: Sequence[float]) -> bytes:
    """The outline of one polygon, x and y in turn."""
    return msgspec.json.encode([points])


def ellipse(x: float, y: float, across: float, down: float, turn: float = 0.0) -> bytes:
    """The outline of an ellipse around x, y with two radii, turned clockwise by radians, as a polygon."""
    angles = 2 * np.pi * np.arange(_SIDES_OF_ELLIPSE) / _SIDES_OF_ELLIPSE
    a, b = across * np.cos(angles), down * np.sin(angles)
    cosine, sine = np.cos(turn), np.sin(turn)
    return polygon(np.stack([x + a * cosine - b * sine, y + a * sine + b * cosine], axis=1).ravel().tolist())


def run_lengths(counts: Sequence[int] | str, height: int, width: int) -> bytes:
    """The outline of COCO's run lengths: background first, down the columns; a string is compressed."""
    return msgspec.json.encode({"size": [height, width], "counts": counts})


def runs_of(inside: np.ndarray, top: int, left: int, height: int, width: int) -> bytes:
    """The outline of a part of an image, bool [h, w], whose corner lies at `top`, `left`. Raises ValueError."""
    rows, columns = inside.shape
    if not height * width <= MAX_PIXELS or not (0 <= top <= height - rows and 0 <= left <= width - columns):
        raise ValueError(
            f"a mask of {columns} × {rows} pixels at {left}, {top} lies outside of the image of {width} × {height}"
        )
    whole = np.zeros((width, height), np.uint8)
    whole[left : left + columns, top : top + rows] = inside.T
    edges = np.flatnonzero(np.diff(whole.ravel(), prepend=0)).tolist()
    return run_lengths(np.diff([0, *edges, whole.size]).tolist(), height, width)


def starts_and_lengths(text: str, *, by_row: bool = False) -> bytes:
    """The outline of Kaggle's `start length start length …`: starts count from 1, down the columns or along the rows.

    Raises ValueError.
    """
    words = text.split()
    if len(words) % 2 or not all(map(str.isdecimal, words)):
        raise ValueError(f"run lengths are starts and lengths in turn, whole numbers, not {text[:40]!r}")
    numbers = [int(word) for word in words]
    starts, lengths = [start - 1 for start in numbers[::2]], numbers[1::2]
    return msgspec.json.encode({"starts": starts, "lengths": lengths, "by_row": by_row})


def runs_from_starts(starts: Sequence[int], lengths: Sequence[int], pixels: int) -> list[int]:
    """COCO's counts from the first positions of runs, from 0, and their lengths. Raises ValueError."""
    first, count = np.asarray(starts, np.int64), np.asarray(lengths, np.int64)
    ends = first + count
    if len(first) and (first.min() < 0 or ends.max() > pixels):
        raise ValueError(f"the run {first[ends.argmax()] + 1} {count[ends.argmax()]} lies outside of {pixels:,} pixels")
    if (count < 0).any() or (first[1:] < ends[:-1]).any():
        raise ValueError("the runs overlap or are not in order")
    edges = np.stack([first, ends], axis=1).ravel()
    return [*np.diff(edges, prepend=0).tolist(), pixels - (int(edges[-1]) if len(edges) else 0)]


def _outlines(mask: DrawnMask) -> Iterator[bytes]:
    if not mask.ranges:
        yield from mask.outlines
        return
    try:
        with mask.path.open("rb", buffering=0) as file:
            for offset, size in np.frombuffer(mask.ranges, np.int64).reshape(-1, 2).tolist():
                yield os.pread(file.fileno(), size, offset)
    except OSError as error:
        raise DataError(f"{mask.path} cannot be read: {error.strerror or error}") from error


def _draw(canvas: np.ndarray, outline: bytes, value: int, height: int, width: int, *, is_relative: bool) -> None:
    shape: Any = msgspec.json.decode(outline)
    if isinstance(shape, dict):
        _draw_runs(canvas, shape, value, height, width)
        return
    if not isinstance(shape, list) or not shape:
        raise ValueError("there is no segmentation; export polygons or run lengths, not bounding boxes alone")
    for points in shape if isinstance(shape[0], list) else [shape]:
        xy = np.array(points, np.float64)
        if xy.ndim != 1 or xy.size % 2 or xy.size < 2 * _LEAST_POINTS:
            raise ValueError(
                f"a polygon has {_LEAST_POINTS} or more points, x and y in turn, not {len(points)} numbers"
            )
        xy = xy.reshape(-1, 2) * (width, height) if is_relative else xy.reshape(-1, 2)
        _check_inside(xy, height, width)
        _fill(canvas, _polygon_edges(xy, height, width), value)


def _check_inside(xy: np.ndarray, height: int, width: int) -> None:
    side = np.array([width, height])
    low, high = xy.min(axis=0), xy.max(axis=0)
    beyond = np.maximum(_MOST_BEYOND * side, _LEAST_BEYOND)
    is_inside = (low >= -beyond).all() and (high <= side + beyond).all() and (high >= 0).all() and (low <= side).all()
    if not is_inside:  # also for NaN
        raise ValueError(
            f"the polygon lies outside of the image: x from {low[0]:g} to {high[0]:g}, y from {low[1]:g} to "
            f"{high[1]:g}, but the image has {width} × {height} pixels"
        )


def _polygon_edges(xy: np.ndarray, height: int, width: int) -> np.ndarray:
    """Where a polygon begins and ends down the columns, int64 [n], not sorted. xy: float64 [points, 2]."""
    corners = np.trunc(_SCALE * xy + 0.5).astype(np.int64)
    start, end = corners, np.roll(corners, -1, axis=0)
    moved = (start != end).any(axis=1)
    start, end = start[moved], end[moved]
    if not len(start):
        return np.zeros(0, np.int64)
    along, flipped, longest, slope = _segments(start, end)
    first = np.where(flipped[:, None], end, start)
    steps = np.arange(int((longest + 1).sum())) - np.repeat(np.cumsum(longest + 1) - longest - 1, longest + 1)
    of = np.repeat(np.arange(len(start)), longest + 1)
    step = np.where(flipped[of], longest[of] - steps, steps)
    other = np.where(along[of] == 0, first[of, 1], first[of, 0])
    major = step + np.where(along[of] == 0, first[of, 0], first[of, 1])
    minor = np.trunc(other + slope[of] * step + 0.5).astype(np.int64)
    u, v = np.where(along[of] == 0, major, minor), np.where(along[of] == 0, minor, major)
    return _crossings(u, v, height, width)


def _segments(start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of each side: the axis it is walked along, whether from its end, its steps, and what the other axis gains."""
    delta = np.abs(end - start)
    along = np.where(delta[:, 0] >= delta[:, 1], 0, 1)
    rows = np.arange(len(start))
    flipped = start[rows, along] > end[rows, along]
    first, last = np.where(flipped[:, None], end, start), np.where(flipped[:, None], start, end)
    longest = delta[rows, along]
    return along, flipped, longest, (last - first)[rows, 1 - along] / longest


def _crossings(u: np.ndarray, v: np.ndarray, height: int, width: int) -> np.ndarray:
    """Where an outline, drawn finely, crosses the centres of columns."""
    at = np.flatnonzero(u[1:] != u[:-1]) + 1
    x = (np.where(u[at] < u[at - 1], u[at], u[at] - 1) + 0.5) / _SCALE - 0.5
    y = (np.minimum(v[at], v[at - 1]) + 0.5) / _SCALE - 0.5
    is_column = (np.floor(x) == x) & (x >= 0) & (x <= width - 1)
    rows = np.ceil(np.clip(y[is_column], 0, height)).astype(np.int64)
    edges: np.ndarray = x[is_column].astype(np.int64) * height + rows
    return edges


def _draw_runs(canvas: np.ndarray, shape: dict[str, Any], value: int, height: int, width: int) -> None:
    if shape.keys() >= {"starts", "lengths", "by_row"}:
        _draw_starts(canvas, shape, value, height, width)
        return
    counts, size = shape.get("counts"), shape.get("size")
    if size != [height, width]:
        raise ValueError(f"the run lengths are of size {size}, but the image has [{height}, {width}] (height, width)")
    lengths = decode_counts(counts) if isinstance(counts, str) else np.array(counts, np.int64)
    if lengths.ndim != 1 or (lengths < 0).any() or int(lengths.sum()) != canvas.size:
        raise ValueError(f"the run lengths do not sum up to the {canvas.size:,} pixels of the image")
    _fill(canvas, np.cumsum(lengths)[:-1], value)


def _draw_starts(canvas: np.ndarray, shape: dict[str, Any], value: int, height: int, width: int) -> None:
    lengths = runs_from_starts(shape["starts"], shape["lengths"], canvas.size)
    if not shape["by_row"]:
        _fill(canvas, np.cumsum(lengths)[:-1], value)
        return
    rows = np.zeros(canvas.size, np.uint8)
    _fill(rows, np.cumsum(lengths)[:-1], 1)
    canvas[cv2.transpose(rows.reshape(height, width)).ravel() == 1] = value


def decode_counts(text: str) -> np.ndarray:
    """COCO's compressed run lengths, int64 [n]; see `inference.encoding` for the code. Raises ValueError."""
    codes = np.frombuffer(text.encode(), np.uint8).astype(np.int64) - 48
    if len(codes) and (codes.min() < 0 or codes.max() > 63 or codes[-1] & 0x20):
        raise ValueError("the compressed run lengths are cut short or damaged")
    ends = np.flatnonzero(~codes & 0x20)
    starts = np.concatenate(([0], ends[:-1] + 1)) if len(ends) else ends
    digits = np.arange(len(codes)) - np.repeat(starts, ends - starts + 1)
    if len(digits) and digits.max() > 11:
        raise ValueError("the compressed run lengths are damaged")
    lengths = np.add.reduceat((codes & 0x1F) << 5 * digits, starts) if len(ends) else np.zeros(0, np.int64)
    lengths = np.where(codes[ends] & 0x10, lengths - (1 << 5 * (digits[ends] + 1)), lengths)
    lengths[1::2] = np.cumsum(lengths[1::2])
    lengths[2::2] = np.cumsum(lengths[2::2])
    return lengths


def _fill(canvas: np.ndarray, edges: np.ndarray, value: int) -> None:
    """Write the value between each two edges, where the shape begins and ends."""
    positions, counts = np.unique(edges, return_counts=True)
    positions = positions[counts % 2 == 1]  # two edges in one place are none
    if not len(positions):
        return
    first, last = int(positions[0]), int(min(positions[-1], canvas.size)) if len(positions) % 2 == 0 else canvas.size
    changes = np.zeros(last - first + 1, np.uint8)
    changes[positions[positions <= last] - first] = 1
    inside = np.cumsum(changes[:-1], dtype=np.uint8) & 1  # sums beyond 255 keep their parity
    np.copyto(canvas[first:last], np.uint8(value), where=inside.view(np.bool_))
