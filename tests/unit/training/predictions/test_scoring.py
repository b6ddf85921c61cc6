from __future__ import annotations

import numpy as np

from byoc_vision.training.predictions.scoring import class_ious, confusion_matrix, foreground_dice


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


def test_a_class_in_neither_truth_nor_answer_has_no_iou() -> None:
    ious = class_ious(np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]]))
    assert ious[:2].tolist() == [3 / 4, 4 / 5]
    assert np.isnan(ious[2])


def test_dice_is_of_all_classes_but_the_first() -> None:
    assert foreground_dice(np.array([[9, 1], [0, 4]])) == 2 * 4 / 9
    assert foreground_dice(np.array([[9, 0], [0, 0]])) == 1
