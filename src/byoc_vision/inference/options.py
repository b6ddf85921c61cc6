"""Parses inference options, for requests and for the command line.

This module imports nothing slow, so that `byoc-vision --help` is fast.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from byoc_vision.inference.engines.base import EnginePrecision
    from byoc_vision.inference.tiling import Tile
    from byoc_vision.inference.tta import Views

SMALLEST_TILE = 32
LARGEST_TILE = 4096
VIEWS: tuple[Views, ...] = ("none", "flip", "flips")
PRECISIONS: tuple[EnginePrecision, ...] = ("auto", "float32", "bfloat16", "int8")

_NUMBER = re.compile(r"\+?(\d{1,20}(\.\d{0,20})?|\.\d{1,20})([eE]-?\d{1,3})?")


def parse_tile(text: str) -> Tile:
    """`auto`, or a tile's longer side in pixels. Raises ValueError, which says what is allowed."""
    if text == "auto":
        return "auto"
    if not text.isascii() or not text.isdigit() or not SMALLEST_TILE <= int(text[:9]) <= LARGEST_TILE:
        raise ValueError(f"{text!r} is neither auto nor a number of pixels from {SMALLEST_TILE} to {LARGEST_TILE}")
    return int(text)


def parse_threshold(text: str) -> float:
    """A probability between 0 and 1, both excluded. Raises ValueError, which says what is allowed."""
    if not _NUMBER.fullmatch(text) or not 0 < float(text) < 1:
        raise ValueError(f"{text!r} is not a number between 0 and 1")
    return float(text)
