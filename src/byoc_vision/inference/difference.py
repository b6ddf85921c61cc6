"""Colours the pixels in which a mask differs from the target; people with any colour vision can distinguish them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

# Colours of Okabe and Ito ("Color Universal Design", 2008), chosen so that they also differ in brightness.
DIFFERENCE_COLOURS = {
    "background": (24, 24, 24),
    "right": (0, 114, 178),
    "missed": (213, 94, 0),
    "false alarm": (240, 228, 66),
    "another class": (204, 121, 167),
    "not counted": (128, 128, 128),
}
BACKGROUND, RIGHT, MISSED, FALSE_ALARM, ANOTHER_CLASS, NOT_COUNTED = range(6)

# Index: 1 if the prediction is a foreground class, plus 2 if the target is one, plus 4 if the pixel is not counted.
_KINDS = np.zeros(256, np.uint8)
_KINDS[:6] = (BACKGROUND, FALSE_ALARM, MISSED, RIGHT, NOT_COUNTED, NOT_COUNTED)


def difference(labels: np.ndarray, target: np.ndarray, background: Sequence[int] = (0,)) -> np.ndarray:
    """The kind of each pixel, uint8 [H, W], as an index into DIFFERENCE_COLOURS.

    Args:
        labels: The predicted class indices, uint8 [H, W].
        target: The true class indices, uint8 [H, W]; 255 is not counted.
        background: The background classes. Without any, each pixel is right or another class.
    """
    predicted, expected = np.ones(256, np.uint8), np.full(256, 2, np.uint8)
    predicted[list(background)] = expected[list(background)] = 0
    expected[255] = 4
    both = cv2.LUT(labels, predicted) + cv2.LUT(target, expected)
    kinds = cv2.LUT(both, _KINDS)
    np.copyto(kinds, ANOTHER_CLASS, where=(both == 3) & (labels != target))
    return kinds


def difference_palette() -> np.ndarray:
    """The colour of each kind, uint8 [6, 3] RGB."""
    return np.array(list(DIFFERENCE_COLOURS.values()), np.uint8)
