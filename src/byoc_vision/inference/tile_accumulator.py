"""Collects the blended logits of a large image: as labels, one byte per pixel, and optionally as probabilities."""

from __future__ import annotations

import cv2
import numpy as np

_ROWS = 256  # converted to probabilities at a time


class LabelAccumulator:
    """The class of each pixel, uint8 [H, W]; logits arrive class by class.

    logit_threshold: with a single plane, the logit above which a pixel has the second class; None with several planes,
    of which the highest decides.
    """

    def __init__(self, height: int, width: int, logit_threshold: float | None) -> None:
        self.labels = np.zeros((height, width), np.uint8)
        self._logit_threshold = logit_threshold
        self._best = np.empty((0, 0), np.float32)

    def put(self, index: int, top: int, left: int, logits: np.ndarray) -> None:
        """See `tiling.TileAccumulator`; a cell's classes come in order. Logits outside the image are dropped."""
        labels = self.labels[top : top + logits.shape[0], left : left + logits.shape[1]]
        logits = logits[: labels.shape[0], : labels.shape[1]]
        if self._logit_threshold is not None:
            labels[:] = logits > self._logit_threshold
        elif index == 0:
            self._best = logits.copy()
            labels[:] = 0
        else:
            # Thirty times faster than indexing with a mask.
            cv2.copyTo(np.full(labels.shape, index, np.uint8), (logits > self._best).view(np.uint8), labels)
            np.maximum(self._best, logits, out=self._best)


class ProbabilityAccumulator(LabelAccumulator):
    """Also collects every class's probability, float32 [K, H, W]; for images whose probabilities fit in memory."""

    def __init__(self, height: int, width: int, planes: int, logit_threshold: float | None) -> None:
        super().__init__(height, width, logit_threshold)
        # A single plane stands for two classes.
        self._planes = np.zeros((planes if logit_threshold is None else 2, height, width), np.float32)

    def put(self, index: int, top: int, left: int, logits: np.ndarray) -> None:
        super().put(index, top, left, logits)
        plane = self._planes[index if self._logit_threshold is None else 1]
        target = plane[top : top + logits.shape[0], left : left + logits.shape[1]]
        target[:] = logits[: target.shape[0], : target.shape[1]]

    def probabilities(self) -> np.ndarray:
        """The probabilities; call it once, after all logits, because it overwrites them."""
        for top in range(0, self._planes.shape[1], _ROWS):
            stripe = self._planes[:, top : top + _ROWS]
            # A sigmoid is the softmax of 0 and the logit.
            stripe -= stripe.max(axis=0)
            np.exp(stripe, out=stripe)
            stripe /= stripe.sum(axis=0)
        return self._planes
