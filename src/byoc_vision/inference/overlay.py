"""A mask drawn over its picture, for people."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np

from byoc_vision.artifact import ClassEntry

_GOLDEN_RATIO = 0.618033988749895
_ROWS = 512  # that are drawn at a time, so that a large picture does not lie in memory several times
_NAMES_OF_BACKGROUND = ("background", "class_0")


def class_colours(count: int) -> np.ndarray:
    """A colour for each class, uint8 [count, 3] RGB: hues a golden ratio apart, so that neighbours differ."""
    hues = [(0.0 + index * _GOLDEN_RATIO) % 1 for index in range(count)]
    return np.array(
        [[round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.85, 1.0)] for hue in hues], dtype=np.uint8
    )


def draw_overlay(
    rgb: np.ndarray, labels: np.ndarray, background: Sequence[int] = (0,), opacity: float = 0.5
) -> np.ndarray:
    """Each class in its colour over the picture, uint8 [H, W, 3]; pixels of `background` classes stay as they are.

    rgb: uint8 [H, W, 3]; labels: class indices, uint8 [H, W]; opacity: 0–1.
    """
    colours, untouched = class_colours(256), np.zeros(256, bool)
    untouched[list(background)] = True
    drawn = rgb.copy()
    for top in range(0, len(rgb), _ROWS):
        part, own = drawn[top : top + _ROWS], labels[top : top + _ROWS]
        blended = cv2.addWeighted(part, 1 - opacity, colours[own], opacity, 0)
        np.copyto(part, blended, where=~untouched[own][..., None])
    return drawn


def background_classes(classes: Sequence[ClassEntry]) -> tuple[int, ...]:
    """The classes that are not drawn: the first, where there are two or its name says no more than that."""
    return (0,) if len(classes) == 2 or classes[0].name.lower() in _NAMES_OF_BACKGROUND else ()


def mask_palette(classes: Sequence[ClassEntry]) -> np.ndarray:
    """The colour of every pixel value of a mask, uint8 [256, 3] RGB: those of an overlay, and black for the rest."""
    palette = np.zeros((256, 3), np.uint8)
    background = background_classes(classes)
    for index, (entry, colour) in enumerate(zip(classes, class_colours(len(classes)), strict=True)):
        if index not in background:
            palette[index if entry.value is None else entry.value] = colour
    return palette
