"""A confusion matrix of many classes as an image."""

from __future__ import annotations

import base64

import cv2
import numpy as np

MOST_PIXELS = 500  # of a side
_RIGHT, _WRONG = (201, 82, 36), (0, 104, 214)  # BGR, seen on white and on black, and by the colour-blind


def heat_map(confusion: np.ndarray) -> str:
    """A PNG as a data URL: the diagonal in blue, mistakes in orange, as opaque as their share of the target's row.

    confusion: int64 [target, answer].
    """
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    right = np.eye(len(confusion), dtype=bool)
    opacity = np.where(confusion > 0, 0.15 + 0.85 * np.sqrt(shares), 0.0)
    diagonal, mistakes = _pooled(opacity * right), _pooled(opacity * ~right)
    colours = np.where((diagonal > mistakes)[..., None], _RIGHT, _WRONG).astype(np.uint8)
    alpha = (15 * np.maximum(diagonal, mistakes)).round().astype(np.uint8) * 17  # few shades: a small file
    _, encoded = cv2.imencode(".png", np.dstack([colours, alpha]), [cv2.IMWRITE_PNG_COMPRESSION, 4])
    return f"data:image/png;base64,{base64.b64encode(encoded.tobytes()).decode()}"


def _pooled(values: np.ndarray) -> np.ndarray:
    """The largest of each block, so that there are `MOST_PIXELS` a side at the most."""
    step = -(-len(values) // MOST_PIXELS)
    bounds = np.arange(0, len(values), step)
    return np.asarray(np.maximum.reduceat(np.maximum.reduceat(values, bounds, axis=0), bounds, axis=1))
