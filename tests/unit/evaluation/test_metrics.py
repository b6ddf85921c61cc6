from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from support import forked
from support.sharded_metrics import IMAGES, MASKS, measure, measure_together, tell_figures

from byoc_vision.evaluation.metrics import ClassificationMetrics, MultiLabelMetrics, SegmentationMetrics
from byoc_vision.evaluation.scoring import ScoredPrediction, score
from byoc_vision.inference.predictor import Classification, Segmentation
from byoc_vision.types import ClassInfo

IGNORED = 255


def segmentation(labels: object) -> Segmentation:
    classes = (ClassInfo(name="unused", value=0),)
    return Segmentation(np.array(labels, dtype=np.uint8), classes, lambda: np.zeros(0))


def answered(labels: object, target: object, classes: int = 2) -> ScoredPrediction:
    return score(segmentation(labels), np.array(target, dtype=np.uint8), classes)


def measured(names: list[str], pairs: list[tuple[object, object]]) -> dict[str, float]:
    metrics = SegmentationMetrics(names)
    metrics.update(answered(labels, target, len(names)) for labels, target in pairs)
    return metrics.compute()


class TestSegmentation:
    def test_by_hand(self) -> None:
        # Two images: 1 of 2 car pixels found with one false alarm; both of 2 found.
        figures = measured(["road", "car"], [([[1, 1, 0, 0]], [[1, 0, 1, 0]]), ([[1, 1, 0, 0]], [[1, 1, 0, 0]])])
        assert figures == pytest.approx(
            {
                "dice": (2 * 1 / (2 + 2) + 1) / 2,
                "miou": (3 / 5 + 3 / 5) / 2,
                "iou_road": 3 / 5,
                "iou_car": 3 / 5,
                "pixel_accuracy": 6 / 8,
            }
        )

    def test_of_three_classes_dice_is_the_mean_of_those_in_the_image_but_the_first(self) -> None:
        figures = measured(["sky", "tree", "car", "cat"], [([[1, 1, 2, 0]], [[1, 2, 2, 0]])])
        assert figures["dice"] == pytest.approx((2 * 1 / 3 + 2 * 1 / 3) / 2)
        assert figures["iou_tree"] == figures["iou_car"] == 0.5
        assert "iou_cat" not in figures
        assert figures["miou"] == pytest.approx((0.5 + 0.5 + 1) / 3)

    def test_an_image_without_foreground_is_right_where_none_is_seen(self) -> None:
        assert measured(["no", "yes"], [([[0, 0]], [[0, 0]])])["dice"] == 1
        assert measured(["no", "yes"], [([[0, 1]], [[0, 0]])])["dice"] == 0

    def test_ignored_pixels_count_nowhere(self) -> None:
        seen = measured(["no", "yes"], [([[1, 0, 1]], [[1, 0, IGNORED]])])
        assert seen == measured(["no", "yes"], [([[1, 0]], [[1, 0]])])

    def test_an_image_that_is_ignored_whole_is_in_no_metric(self, caplog: pytest.LogCaptureFixture) -> None:
        wrong, ignored = ([[1, 0]], [[0, 1]]), ([[1, 0]], [[IGNORED, IGNORED]])
        assert measured(["no", "yes"], [wrong, ignored, ignored]) == measured(["no", "yes"], [wrong])
        assert "2 masks hold ignored pixels alone" in caplog.text
        assert measured(["no", "yes"], [ignored]) == {"dice": 0.0, "miou": 0.0, "pixel_accuracy": 0.0}

    def test_classes_whose_names_differ_by_a_blank_have_metrics_of_their_own(self) -> None:
        metrics = measured(["red car", "red_car"], [([[0, 1]], [[0, 0]])])
        assert metrics["iou_red_car"] == 0.5
        assert metrics["iou_red_car_2"] == 0

    def test_names_are_without_blanks(self) -> None:
        assert "iou_traffic_sign" in measured(["traffic sign", "x"], [([[0]], [[0]])])

    @settings(deadline=None, max_examples=50)
    @given(st.data())
    def test_it_is_what_counting_pixel_by_pixel_gives(self, data: st.DataObject) -> None:
        count = data.draw(st.integers(2, 5))
        pairs = []
        for _ in range(data.draw(st.integers(1, 3))):
            shape = data.draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
            targets = st.sampled_from([*range(count), IGNORED])
            pairs.append(
                (
                    data.draw(st_numpy.arrays(np.uint8, shape, elements=st.integers(0, count - 1))),
                    data.draw(st_numpy.arrays(np.uint8, shape, elements=targets)),
                )
            )
        names = [str(index) for index in range(count)]
        assert measured(names, pairs) == pytest.approx(naive(count, pairs))

    def test_two_batches_are_forgotten_by_reset(self) -> None:
        metrics = SegmentationMetrics(["no", "yes"])
        metrics.update([answered([[0]], [[1]])])
        metrics.reset()
        metrics.update([answered([[1]], [[1]])])
        assert metrics.compute()["pixel_accuracy"] == 1


def naive(count: int, pairs: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """The definitions, word by word."""
    dice = []
    for labels, target in pairs:
        kept = target != IGNORED
        of_classes = []
        for index in range(1, count):
            answered, true = (labels == index) & kept, target == index
            if answered.any() or true.any():
                of_classes.append(2 * (answered & true).sum() / (answered.sum() + true.sum()))
        if kept.any():
            dice.append(np.mean(of_classes) if of_classes else 1.0)
    flat_labels = np.concatenate([labels[target != IGNORED] for labels, target in pairs])
    flat_truth = np.concatenate([target[target != IGNORED] for _, target in pairs])
    iou = {}
    for index in range(count):
        union = ((flat_labels == index) | (flat_truth == index)).sum()
        if union:
            iou[f"iou_{index}"] = ((flat_labels == index) & (flat_truth == index)).sum() / union
    return {
        "dice": float(np.mean(dice)) if dice else 0.0,
        "miou": float(np.mean(list(iou.values()))) if iou else 0.0,
        "pixel_accuracy": float((flat_labels == flat_truth).mean()) if len(flat_truth) else 0.0,
        **iou,
    }


def probabilities(index: int, count: int) -> Classification:
    return Classification(np.eye(count, dtype=np.float32)[index], tuple(str(i) for i in range(count)))


class TestClassification:
    def figures(self, answers: list[int], targets: list[int], count: int) -> dict[str, float]:
        metrics = ClassificationMetrics([str(index) for index in range(count)])
        metrics.update(
            ScoredPrediction(probabilities(answer, count), np.array(target))
            for answer, target in zip(answers, targets, strict=True)
        )
        return metrics.compute()

    def test_by_hand(self) -> None:
        # Of class 0: 2 true, 1 found, none wrongly named. Of 1: 1 true, found, 1 wrongly. Of 2: 1 true, found.
        figures = self.figures([0, 1, 1, 2], [0, 0, 1, 2], 3)
        assert figures == pytest.approx(
            {
                "accuracy": 3 / 4,
                "precision": (1 + 1 / 2 + 1) / 3,
                "recall": (1 / 2 + 1 + 1) / 3,
                "f1": (2 / 3 + 2 / 3 + 1) / 3,
                "f1_0": 2 / 3,
                "f1_1": 2 / 3,
                "f1_2": 1,
            }
        )

    def test_a_class_that_never_occurs_is_in_no_mean(self) -> None:
        with_it, without = self.figures([0, 1, 1], [0, 0, 1], 3), self.figures([0, 1, 1], [0, 0, 1], 2)
        assert with_it == pytest.approx(without)

    def test_the_likeliest_class_is_the_answer(self) -> None:
        metrics = ClassificationMetrics(["a", "b"])
        metrics.update(
            [ScoredPrediction(Classification(np.array([0.4, 0.6], dtype=np.float32), ("a", "b")), np.array(1))]
        )
        assert metrics.compute()["accuracy"] == 1

    def test_batches_of_any_size_give_the_same_metrics(self) -> None:
        answers, targets = [0, 1, 1, 2, 0], [0, 0, 1, 2, 2]
        one_by_one = ClassificationMetrics(["0", "1", "2"])
        for answer, target in zip(answers, targets, strict=True):
            one_by_one.update([ScoredPrediction(probabilities(answer, 3), np.array(target))])
        assert one_by_one.compute() == self.figures(answers, targets, 3)

    def test_the_target_may_be_among_the_k_likeliest(self) -> None:
        metrics = ClassificationMetrics(["a", "b", "c"], top_k=2)
        vector = np.array([0.5, 0.3, 0.2], dtype=np.float32)
        answer = Classification(vector, metrics.class_names)
        metrics.update(ScoredPrediction(answer, np.array(target)) for target in (0, 1, 2, 2))
        figures = metrics.compute()
        assert (figures["accuracy"], figures["top_2_accuracy"]) == (1 / 4, 2 / 4)


class TestMultiLabel:
    def figures(self, probabilities: np.ndarray, targets: np.ndarray, threshold: float = 0.5) -> dict[str, float]:
        names = tuple(str(index) for index in range(targets.shape[1]))
        metrics = MultiLabelMetrics(names, threshold)
        answers = [Classification(row.astype(np.float32), names, threshold) for row in probabilities]
        metrics.update(map(ScoredPrediction, answers[:2], targets[:2]))
        metrics.update(map(ScoredPrediction, answers[2:], targets[2:]))
        return metrics.compute()

    def test_probabilities_that_are_not_numbers_have_no_metrics(self) -> None:
        metrics = self.figures(np.array([[0.9, 0.8], [np.nan, 0.1], [0.3, 0.2]]), np.eye(3, 2, dtype=np.uint8))
        assert all(np.isnan(value) for value in metrics.values())
        assert "map" in metrics

    def test_by_hand(self) -> None:
        # Class 0 ranks yes, no, yes: precisions 1 and 2/3 at its two. Class 1: no, yes, no: 1/2. Class 2 never occurs.
        figures = self.figures(
            np.array([[0.9, 0.8, 0.1], [0.8, 0.6, 0.2], [0.3, 0.2, 0.3]]),
            np.array([[1, 0, 0], [0, 1, 0], [1, 0, 0]], dtype=np.uint8),
        )
        assert figures == pytest.approx(
            {
                "map": ((1 + 2 / 3) / 2 + 1 / 2) / 2,
                "accuracy": 6 / 9,
                "exact_match": 0,
                "f1": (2 * 1 / 4 + 2 * 1 / 3) / 2,
                "micro_f1": 2 * 2 / 7,
                "f1_0": 2 * 1 / 4,
                "f1_1": 2 * 1 / 3,
            }
        )

    def test_the_threshold_decides_and_the_ranking_does_not_need_it(self) -> None:
        probabilities, targets = np.array([[0.4], [0.3], [0.1]]), np.array([[1], [1], [0]], dtype=np.uint8)
        low, high = self.figures(probabilities, targets, 0.2), self.figures(probabilities, targets, 0.5)
        assert (low["map"], low["f1"], low["exact_match"]) == (1, 1, 1)
        assert (high["map"], high["f1"], high["exact_match"]) == (1, 0, pytest.approx(1 / 3))

    def test_where_no_class_occurs_nothing_fails(self) -> None:
        figures = self.figures(np.full((3, 2), 0.1), np.zeros((3, 2), dtype=np.uint8))
        assert figures == {"map": 0, "accuracy": 1, "exact_match": 1, "f1": 0, "micro_f1": 0}

    @settings(deadline=None, max_examples=40)
    @given(st.data())
    def test_it_is_what_counting_one_by_one_gives(self, data: st.DataObject) -> None:
        shape = data.draw(st.tuples(st.integers(3, 12), st.integers(1, 4)))
        probabilities = data.draw(st_numpy.arrays(np.float32, shape, elements=st.sampled_from([0, 0.25, 0.5, 0.75, 1])))
        targets = data.draw(st_numpy.arrays(np.uint8, shape, elements=st.integers(0, 1)))
        figures = self.figures(probabilities, targets)
        said, true = probabilities > 0.5, targets == 1
        precisions, f1 = [], []
        for index in range(shape[1]):
            if true[:, index].any():
                precisions.append(average_precision(probabilities[:, index], true[:, index]))
            if (said | true)[:, index].any():
                f1.append(2 * (said & true)[:, index].sum() / (said[:, index].sum() + true[:, index].sum()))
        assert figures["map"] == pytest.approx(np.mean(precisions) if precisions else 0)
        assert figures["f1"] == pytest.approx(np.mean(f1) if f1 else 0)
        assert figures["micro_f1"] == pytest.approx(2 * (said & true).sum() / max(1, said.sum() + true.sum()))
        assert figures["accuracy"] == pytest.approx((said == true).mean())
        assert figures["exact_match"] == pytest.approx((said == true).all(axis=1).mean())


def average_precision(probabilities: np.ndarray, true: np.ndarray) -> float:
    """The precision at each threshold, weighted with the share of the true that it adds."""
    total = found = 0.0
    for threshold in sorted(set(probabilities.tolist()), reverse=True):
        said = probabilities >= threshold
        recall = (said & true).sum() / true.sum()
        total += (recall - found) * (said & true).sum() / said.sum()
        found = recall
    return total


@pytest.mark.filterwarnings("ignore:.*compute.*before the .*update:UserWarning")
def test_two_processes_together_measure_what_one_does(tmp_path: Path) -> None:
    """Shares of unequal size, one of them empty; the figures are equal to the last bit."""
    store, log = str(tmp_path / "store"), tmp_path / "log"
    alone = measure(MASKS, IMAGES)
    second = forked.start(tell_figures, 1, store, MASKS[5:], [], log=log)
    first = measure_together(0, store, MASKS[:5], IMAGES)
    assert second.wait(60) == 0, log.read_text()
    assert first == json.loads(log.read_text().splitlines()[-1]) == alone
