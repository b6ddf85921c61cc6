"""From logits at the model's size to an answer at the image's, on the CPU."""

from __future__ import annotations

import math

import cv2
import numpy as np

from byoc_vision.preprocess import Preprocess


def label_pixels(
    logits: np.ndarray, rule: Preprocess, height: int, width: int, threshold: float | None = None
) -> np.ndarray:
    """Logits, float32 [K, h, w], to class indices over the image, uint8 [height, width].

    threshold: where one logit tells two classes apart, the probability above which it says yes.
    Bilinear, class by class: memory does not grow with the number of classes.
    """
    if threshold is not None:
        logit_threshold = logit(threshold)
        return (rule.restore(logits[0], height, width) > logit_threshold).view(np.uint8)
    best = rule.restore(logits[0], height, width)
    labels = np.zeros((height, width), dtype=np.uint8)
    for index in range(1, len(logits)):
        plane = rule.restore(logits[index], height, width)
        # Thirty times as fast as indexing with a mask.
        cv2.copyTo(np.full_like(labels, index), (plane > best).view(np.uint8), labels)
        np.maximum(plane, best, out=best)
    return labels


def restore_planes(logits: np.ndarray, rule: Preprocess, height: int, width: int) -> np.ndarray:
    """Logits, float32 [K, h, w], over the image they came from: [K, height, width]."""
    return np.stack([rule.restore(plane, height, width) for plane in logits])


def softmax(logits: np.ndarray) -> np.ndarray:
    """Along the first axis, which is the classes'."""
    powers: np.ndarray = np.exp(logits - logits.max(axis=0))
    powers /= powers.sum(axis=0)
    return powers


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Without overflow at either end."""
    powers = np.exp(-np.abs(logits))
    probabilities: np.ndarray = np.where(logits >= 0, 1, powers) / (1 + powers)
    return probabilities


def logit(probability: float) -> float:
    """The logit that a sigmoid makes this probability of; infinite where it is 0 or 1."""
    if probability <= 0:
        return -math.inf
    return math.inf if probability >= 1 else math.log(probability / (1 - probability))
