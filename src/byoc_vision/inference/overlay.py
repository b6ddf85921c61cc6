"""Draws a mask over its image, for people."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from byoc_vision.colours import parse_colour, split
from byoc_vision.inference.palette import MOST_CLASSES, class_colour, is_background
from byoc_vision.types import ClassInfo

_ROWS = 512  # drawn at a time, so that memory does not hold several copies of a large image


def class_colours(count: int) -> np.ndarray:
    """The colour of each class, uint8 [count, 3] RGB; the server's page uses the same colours."""
    return np.array([class_colour(index) for index in range(count)], dtype=np.uint8).reshape(count, 3)


def draw_overlay(
    rgb: np.ndarray, labels: np.ndarray, background: Sequence[int] = (0,), opacity: float = 0.5
) -> np.ndarray:
    """Draw each class in its colour over the image, uint8 [H, W, 3]; pixels of `background` classes do not change.

    rgb: uint8 [H, W, 3]; labels: class indices, uint8 [H, W]; opacity: 0–1.
    """
    colours, untouched = class_colours(MOST_CLASSES), np.zeros(MOST_CLASSES, bool)
    untouched[list(background)] = True
    drawn = rgb.copy()
    for top in range(0, len(rgb), _ROWS):
        part, own = drawn[top : top + _ROWS], labels[top : top + _ROWS]
        blended = cv2.addWeighted(part, 1 - opacity, colours[own], opacity, 0)
        np.copyto(part, blended, where=~untouched[own][..., None])
    return drawn


def background_classes(classes: Sequence[ClassInfo]) -> tuple[int, ...]:
    """The indices of the classes that are not drawn."""
    return tuple(index for index, entry in enumerate(classes) if is_background(index, entry.name, len(classes)))


def mask_palette(classes: Sequence[ClassInfo]) -> np.ndarray:
    """The colour of every pixel value of a mask, uint8 [256, 3] RGB, and black for other values.

    A class has the colour that it had in the masks, if they were in colours; otherwise as in an overlay.
    """
    palette = np.zeros((256, 3), np.uint8)
    background = background_classes(classes)
    for index, (entry, colour) in enumerate(zip(classes, class_colours(len(classes)), strict=True)):
        value, own = index if entry.value is None else entry.value, parse_colour(entry.color)
        if own is not None:
            palette[value] = split(own)
        elif index not in background:
            palette[value] = colour
    return palette
