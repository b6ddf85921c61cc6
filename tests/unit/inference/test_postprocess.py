"""Masks without their small parts."""

from __future__ import annotations

import numpy as np
import pytest

from byoc_vision.inference.postprocess import without_small_parts


def mask() -> np.ndarray:
    """100 × 100 pixels: parts of 400, 30 and 4 pixels, the last of which touch at their corners only."""
    labels = np.zeros((100, 100), np.uint8)
    labels[10:30, 10:30] = 1
    labels[50:55, 50:56] = 1
    labels[[80, 81, 82, 83], [80, 81, 82, 83]] = 1
    return labels


@pytest.mark.parametrize(
    ("least", "pixels"), [(0, 434), (1e-4, 434), (4e-4, 434), (5e-4, 430), (3e-3, 430), (31e-4, 400), (0.5, 0)]
)
def test_parts_below_the_share_of_the_image_are_left_out(least: float, pixels: int) -> None:
    labels = mask()
    changed = without_small_parts(labels, least)
    assert (changed.dtype, changed.shape, changed.sum()) == (np.uint8, labels.shape, pixels)
    assert (changed <= labels).all()
    assert labels.sum() == 434, "the mask that was given stays"


@pytest.mark.parametrize("value", [0, 1])
def test_masks_of_one_class(value: int) -> None:
    labels = np.full((20, 20), value, np.uint8)
    np.testing.assert_array_equal(without_small_parts(labels, 0.1), labels)
