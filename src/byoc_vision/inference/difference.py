"""Where a mask differs from the target, in colours that people with any colour vision tell apart."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

# Of Okabe and Ito's colours, chosen so that they differ in brightness too ("Color Universal Design", 2008).
DIFFERENCE_COLOURS = {
    "background": (24, 24, 24),
    "right": (0, 114, 178),
    "missed": (213, 94, 0),
    "false alarm": (240, 228, 66),
    "another class": (204, 121, 167),
    "not counted": (128, 128, 128),
}
BACKGROUND, RIGHT, MISSED, FALSE_ALARM, ANOTHER_CLASS, NOT_COUNTED = range(6)

# By what is said (1) and true (2): a class that is looked for. 4: not counted.
_KINDS = np.zeros(256, np.uint8)
_KINDS[:6] = (BACKGROUND, FALSE_ALARM, MISSED, RIGHT, NOT_COUNTED, NOT_COUNTED)


def difference(labels: np.ndarray, target: np.ndarray, background: Sequence[int] = (0,)) -> np.ndarray:
    """What each pixel is, uint8 [H, W], as an index into DIFFERENCE_COLOURS.

    labels, target: class indices, uint8 [H, W]; in the target 255 is not counted. background: classes that are not
    looked for; where there is none each pixel is right or another class.
    """
    said, true = np.ones(256, np.uint8), np.full(256, 2, np.uint8)
    said[list(background)] = true[list(background)] = 0
    true[255] = 4
    both = cv2.LUT(labels, said) + cv2.LUT(target, true)
    kinds = cv2.LUT(both, _KINDS)
    np.copyto(kinds, ANOTHER_CLASS, where=(both == 3) & (labels != target))
    return kinds


def difference_palette() -> np.ndarray:
    """The colour of each kind, uint8 [6, 3] RGB."""
    return np.array(list(DIFFERENCE_COLOURS.values()), np.uint8)
