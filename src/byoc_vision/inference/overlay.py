"""A mask drawn over its picture, for people."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np

_GOLDEN_RATIO = 0.618033988749895


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
    colours = class_colours(256)[labels]
    blended = cv2.addWeighted(rgb, 1 - opacity, colours, opacity, 0)
    untouched = np.isin(labels, list(background))
    return np.where(untouched[..., None], rgb, blended)
