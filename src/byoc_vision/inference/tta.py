"""Test-time augmentation: averages the predictions for an image and its mirror images.

The model's input is flipped, and its logits are flipped back, so that no other step depends on the views.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

Views = Literal["none", "flip", "flips"]
Axes = tuple[int, ...]  # the axes of an image [h, w, …] that are reversed

# The first view is always the image itself.
_AXES: dict[Views, tuple[Axes, ...]] = {"none": ((),), "flip": ((), (1,)), "flips": ((), (1,), (0,), (0, 1))}


def view_axes(views: Views) -> tuple[Axes, ...]:
    """The axes to reverse for each view: `flip` adds left-right, `flips` also top-bottom and both."""
    return _AXES[views]


def flip(pixels: np.ndarray, axes: Axes) -> np.ndarray:
    """The model's input, uint8 [h, w, 3], flipped for a view."""
    return np.ascontiguousarray(np.flip(pixels, axes)) if axes else pixels


def unflip(logits: np.ndarray, axes: Axes) -> np.ndarray:
    """A view's logits, flipped back to match the image's pixels: [K, h, w]; logits [K] do not change."""
    if not axes or logits.ndim == 1:
        return logits
    return np.ascontiguousarray(np.flip(logits, tuple(axis + 1 for axis in axes)))


def average(views: Sequence[np.ndarray], activation: str) -> np.ndarray:
    """The logits whose probabilities are the mean of the views' probabilities: float32 [K] or [K, h, w].

    Computes with logarithms, so that probabilities near 0 or 1 do not give infinite logits.
    """
    if len(views) == 1:
        return views[0]
    if activation == "sigmoid":
        # log of mean(p) / mean(1 - p); the number of views cancels out.
        mean: np.ndarray = _log_sum([_log_sigmoid(logits) for logits in views])
        mean -= _log_sum([_log_sigmoid(-logits) for logits in views])
        return mean
    return _log_sum([_log_softmax(logits) for logits in views]) - np.float32(np.log(len(views)))


def _log_sigmoid(logits: np.ndarray) -> np.ndarray:
    logarithms: np.ndarray = -np.logaddexp(np.float32(0), -logits)
    return logarithms


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted: np.ndarray = logits - logits.max(axis=0)
    shifted -= np.log(np.exp(shifted).sum(axis=0))
    return shifted


def _log_sum(logarithms: Sequence[np.ndarray]) -> np.ndarray:
    """log(Σ exp(x)) over the sequence."""
    total = logarithms[0]
    for logarithm in logarithms[1:]:
        total = np.logaddexp(total, logarithm)
    return total
