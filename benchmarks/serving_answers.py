"""Compares the predictions of two servers: the most probable class, or the pixels of the mask."""

from __future__ import annotations

import json
from collections.abc import Sequence

import cv2
import numpy as np

# Between two masks: libraries resize images differently, and a network with mostly random weights is very sensitive. If
# a server does not normalise images, the overlap is near 0.
LEAST_OVERLAP = 0.8


class AnswerError(Exception):
    """A prediction that cannot be read, or differs from ours."""


def likeliest(body: bytes) -> str:
    """The most probable class of a response: {"name": probability, …} or [{"label": …, "score": …}, …]."""
    try:
        content = json.loads(body)
        scores = content if isinstance(content, dict) else {entry["label"]: entry["score"] for entry in content}
        return str(max(scores, key=scores.__getitem__))
    except (ValueError, TypeError, KeyError) as error:
        raise AnswerError(f"no class probabilities: {body[:200]!r}") from error


def mask(body: bytes) -> np.ndarray:
    """The foreground pixels of a PNG, bool [H, W]."""
    pixels = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_GRAYSCALE) if body else None
    if pixels is None:
        raise AnswerError(f"no PNG: {body[:200]!r}")
    return np.asarray(pixels > 0)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union; 1 if both are empty."""
    if one.shape != other.shape:
        raise AnswerError(f"a mask of {list(one.shape)}, ours is {list(other.shape)}")
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 1.0


def agreement(task: str, answers: Sequence[bytes], ours: Sequence[bytes]) -> float:
    """The share of images with the same class, or the mean overlap of masks. Raises AnswerError if it is too low."""
    pairs = list(zip(answers, ours, strict=True))
    if task == "segmentation":
        found, least = float(np.mean([overlap(mask(one), mask(other)) for one, other in pairs])), LEAST_OVERLAP
    else:
        found, least = float(np.mean([likeliest(one) == likeliest(other) for one, other in pairs])), 1.0
    if found < least:
        raise AnswerError(f"the agreement with our predictions is {found:.3f}; at least {least} is required")
    return found
