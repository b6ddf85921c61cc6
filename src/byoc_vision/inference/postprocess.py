"""Turns logits of the model's size into a prediction of the image's size, on the CPU."""

from __future__ import annotations

import math

import cv2
import numpy as np

from byoc_vision.preprocess import Preprocess


def label_pixels(
    logits: np.ndarray, rule: Preprocess, height: int, width: int, threshold: float | None = None
) -> np.ndarray:
    """Logits, float32 [K, h, w], to the class index of each pixel of the image, uint8 [height, width].

    threshold: for a model with one logit for two classes, the probability above which a pixel has the second one.
    Interpolates bilinearly, class by class, so that memory does not grow with the number of classes.
    """
    if threshold is not None:
        logit_threshold = logit(threshold)
        return (rule.restore(logits[0], height, width) > logit_threshold).view(np.uint8)
    best = rule.restore(logits[0], height, width)
    labels = np.zeros((height, width), dtype=np.uint8)
    for index in range(1, len(logits)):
        take_higher(labels, best, rule.restore(logits[index], height, width), index)
    return labels


def take_higher(labels: np.ndarray, best: np.ndarray, plane: np.ndarray, index: int) -> None:
    """Give the class `index` to the pixels whose logit in `plane` is above the best so far; both [h, w], in place."""
    # Thirty times faster than indexing with a mask.
    cv2.copyTo(np.full(labels.shape, index, np.uint8), (plane > best).view(np.uint8), labels)
    np.maximum(plane, best, out=best)


def without_small_parts(labels: np.ndarray, least_area: float) -> np.ndarray:
    """A mask of two classes, uint8 [H, W] of 0 and 1, without the parts of 1 below a share of the image's area.

    A part is what touches at sides or corners. With 0 the mask is returned as it is.
    """
    least = math.ceil(least_area * labels.size)
    if least <= 1:
        return labels
    count, parts, stats, _ = cv2.connectedComponentsWithStats(labels, connectivity=8)
    kept = stats[:, cv2.CC_STAT_AREA] >= least
    kept[0] = False  # the background
    if count == 1 or kept[1:].all():
        return labels
    mask: np.ndarray = kept.astype(np.uint8)[parts]
    return mask


def restore_planes(logits: np.ndarray, rule: Preprocess, height: int, width: int) -> np.ndarray:
    """Logits, float32 [K, h, w], resized to the image: [K, height, width]."""
    return np.stack([rule.restore(plane, height, width) for plane in logits])


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax along the first axis, the classes."""
    powers: np.ndarray = np.exp(logits - logits.max(axis=0))
    powers /= powers.sum(axis=0)
    return powers


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Sigmoid that does not overflow for large or small logits."""
    powers = np.exp(-np.abs(logits))
    probabilities: np.ndarray = np.where(logits >= 0, 1, powers) / (1 + powers)
    return probabilities


def logit(probability: float) -> float:
    """The logit whose sigmoid is this probability; infinite for 0 and 1."""
    if probability <= 0:
        return -math.inf
    return math.inf if probability >= 1 else math.log(probability / (1 - probability))
