from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.classification import binary_calibration_error

from byoc_vision.evaluation.scoring import (
    calibration,
    class_ious,
    class_scores,
    confusion_matrix,
    dice_histogram,
    expected_calibration_error,
    foreground_dice,
    label_scores,
)


class TestConfusionMatrix:
    def test_more_pixels_than_float32_can_count_are_counted(self) -> None:
        side = 4200  # 17.6 million pixels; 2 ** 24 + 1 is the first number that float32 lacks
        mask = np.zeros((side, side), dtype=np.uint8)
        mask[0, 0] = 1
        assert confusion_matrix(mask, mask, 2).tolist() == [[side * side - 1, 0], [0, 1]]

    def test_masks_that_are_views_are_counted(self) -> None:
        labels = np.arange(12, dtype=np.uint8).reshape(3, 4) % 3
        assert np.array_equal(confusion_matrix(labels.T, labels.T, 3), np.diag([4, 4, 4]))

    def test_254_classes_fit_beside_the_ignored_value(self) -> None:
        labels = np.arange(254, dtype=np.uint8).reshape(2, 127)
        assert np.array_equal(confusion_matrix(labels, labels, 254), np.eye(254))


def test_a_class_in_neither_target_nor_prediction_has_no_iou() -> None:
    ious = class_ious(np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]]))
    assert ious[:2].tolist() == [3 / 4, 4 / 5]
    assert np.isnan(ious[2])


def test_dice_is_of_all_classes_but_the_first() -> None:
    assert foreground_dice(np.array([[9, 1], [0, 4]])) == 2 * 4 / 9
    assert foreground_dice(np.array([[9, 0], [0, 0]])) == 1


SHARES = st.floats(0, 1, width=32)


@given(st.lists(SHARES, min_size=1))
def test_each_image_is_in_one_bin(values: list[float]) -> None:
    dice = np.array(values, np.float32)
    assert sum(dice_histogram(dice)) == len(values)
    bins = calibration(dice, dice > 0.5)
    assert sum(entry.images for entry in bins) == len(values)
    for index, entry in enumerate(bins):
        if entry.confidence is not None:
            assert index / 10 - 1e-6 <= entry.confidence <= (index + 1) / 10 + 1e-6


def test_bins_hold_their_lower_edge_and_the_last_one_both() -> None:
    assert dice_histogram(np.array([0.0, 0.04, 0.05, 0.95, 1.0])) == [2, 1, *[0] * 16, 0, 2]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 63), st.booleans()), min_size=1))
def test_the_calibration_error_is_that_of_torchmetrics(images: list[tuple[int, bool]]) -> None:
    """But for probabilities of exactly 1, for which it has a bin of its own."""
    confidence, right = np.array([p / 64 for p, _ in images], np.float32), np.array([r for _, r in images])
    theirs = binary_calibration_error(torch.from_numpy(confidence), torch.from_numpy(right).int(), n_bins=10)
    assert expected_calibration_error(calibration(confidence, right)) == pytest.approx(float(theirs), abs=1e-5)


def test_a_sure_model_that_is_right_is_calibrated() -> None:
    bins = calibration(np.ones(3), np.ones(3, bool))
    assert bins[-1].images == 3
    assert expected_calibration_error(bins) == 0
    assert expected_calibration_error(calibration(np.empty(0), np.empty(0, bool))) is None


def test_scores_by_hand() -> None:
    # Of 4 true cats 3 are found; of 6 true dogs 5, and a cat is named a dog; nothing is a bird.
    cat, dog, bird = class_scores(("cat", "dog", "bird"), np.array([[3, 1, 0], [1, 5, 0], [0, 0, 0]]), iou=True)
    assert (cat.support, cat.precision, cat.recall, cat.f1, cat.iou) == (4, 3 / 4, 3 / 4, 6 / 8, 3 / 5)
    assert (dog.support, dog.precision, dog.recall, dog.f1, dog.iou) == (6, 5 / 6, 5 / 6, 10 / 12, 5 / 7)
    assert (bird.support, bird.precision, bird.recall, bird.f1, bird.iou) == (0, None, None, None, None)


def test_scores_of_several_labels_by_hand() -> None:
    present = np.array([[1, 0], [1, 0], [0, 0]], bool)
    predicted = np.array([[1, 0], [0, 0], [1, 0]], bool)
    red, never = label_scores(("red", "never"), present, predicted, [0.5, None])
    assert (red.support, red.precision, red.recall, red.f1, red.average_precision) == (2, 1 / 2, 1 / 2, 1 / 2, 0.5)
    assert (never.support, never.precision, never.recall, never.f1, never.average_precision) == (
        0,
        None,
        None,
        None,
        None,
    )
