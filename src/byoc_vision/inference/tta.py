"""Test-time augmentation: the model looks at an image and at its mirror images, and what it says is averaged.

The mirror images are made of the model's input, and its answers are mirrored back, so that nothing else on the way from
an image to an answer knows of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

Views = Literal["none", "flip", "flips"]
Axes = tuple[int, ...]  # of an image [h, w, …] that are reversed

# Of `none` the one view is the image itself; the first always is.
_AXES: dict[Views, tuple[Axes, ...]] = {"none": ((),), "flip": ((), (1,)), "flips": ((), (1,), (0,), (0, 1))}


def view_axes(views: Views) -> tuple[Axes, ...]:
    """What to reverse for each of the views: `flip` adds left-right, `flips` also top-bottom and both."""
    return _AXES[views]


def look(pixels: np.ndarray, axes: Axes) -> np.ndarray:
    """The model's input, uint8 [h, w, 3], as this view has it."""
    return np.ascontiguousarray(np.flip(pixels, axes)) if axes else pixels


def look_back(logits: np.ndarray, axes: Axes) -> np.ndarray:
    """A view's logits where the image's own pixels are: [K, h, w] mirrored back; [K] has no place."""
    if not axes or logits.ndim == 1:
        return logits
    return np.ascontiguousarray(np.flip(logits, tuple(axis + 1 for axis in axes)))


def average(views: Sequence[np.ndarray], activation: str) -> np.ndarray:
    """The logits whose probabilities are the mean of the views' probabilities: float32, [K] or [K, h, w] as each is.

    Reckoned with logarithms, so that a probability of nearly 0 or 1 gives no infinite logit.
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
