"""Where a mask differs from the truth, in colours that people with any colour vision tell apart."""

from __future__ import annotations

from collections.abc import Sequence

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


def difference(labels: np.ndarray, truth: np.ndarray, background: Sequence[int] = (0,)) -> np.ndarray:
    """What each pixel is, uint8 [H, W], as an index into DIFFERENCE_COLOURS.

    labels, truth: class indices, uint8 [H, W]; in the truth 255 is not counted. background: classes that are not
    looked for; where there is none each pixel is right or another class.
    """
    empty = np.zeros(256, bool)
    empty[list(background)] = True
    said, true = ~empty[labels], ~empty[truth]
    kinds = np.where(labels == truth, RIGHT, ANOTHER_CLASS).astype(np.uint8)
    kinds[~said & ~true] = BACKGROUND
    kinds[~said & true] = MISSED
    kinds[said & ~true] = FALSE_ALARM
    kinds[truth == 255] = NOT_COUNTED
    return kinds


def difference_palette() -> np.ndarray:
    """The colour of each kind, uint8 [6, 3] RGB."""
    return np.array(list(DIFFERENCE_COLOURS.values()), np.uint8)
