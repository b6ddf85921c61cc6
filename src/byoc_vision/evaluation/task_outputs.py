"""What is kept of an image's prediction, for each task: its row in the table, its ranks in the galleries.

A row holds numbers alone, so that those of 100,000 images are small and can be sent between processes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from byoc_vision.artifact import ModelConfig
from byoc_vision.evaluation.metric_names import class_keys
from byoc_vision.evaluation.scoring import (
    ScoredPrediction,
    calibration,
    class_ious,
    class_scores,
    dice_histogram,
    expected_calibration_error,
    foreground_dice,
    label_scores,
)
from byoc_vision.inference.encoding import DECIMALS
from byoc_vision.inference.predictor import Classification
from byoc_vision.report.record import GalleryName

MOST_IOU_COLUMNS = 40


class TaskOutput(Protocol):
    """What a report keeps of the predictions for one task."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of `cells`."""
        ...

    def row(self, image: ScoredPrediction) -> np.ndarray:
        """All that is kept of an image, float32 [C]."""
        ...

    def ranks(self, row: np.ndarray) -> dict[GalleryName, float]:
        """Its rank in each gallery that it may be in: the lowest comes first."""
        ...

    def cells(self, row: np.ndarray) -> list[str]:
        """Its line in predictions.csv."""
        ...

    def example_fields(self, row: np.ndarray) -> dict[str, Any]:
        """Fields of `report.record.Example`."""
        ...

    def evaluation_fields(self, rows: np.ndarray, pixels: np.ndarray | None) -> dict[str, Any]:
        """Fields of `report.record.Evaluation`, of all rows, [N, C], and a mask's pixels by target and prediction."""
        ...


def task_output(config: ModelConfig) -> TaskOutput:
    if config.task == "segmentation":
        return MaskOutput(config.class_names)
    if config.activation == "sigmoid":
        return LabelsOutput(config.class_names, config.threshold)
    return ClassOutput(config.class_names)


class MaskOutput:
    """Row: Dice, pixel accuracy and, of at most `MOST_IOU_COLUMNS` classes, each class's IoU."""

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = class_names
        self._named_classes = class_names if len(class_names) <= MOST_IOU_COLUMNS else ()

    @property
    def columns(self) -> tuple[str, ...]:
        return ("dice", *(f"iou_{key}" for key in class_keys(self._named_classes)), "pixel_accuracy")

    def row(self, image: ScoredPrediction) -> np.ndarray:
        confusion = image.confusion
        assert confusion is not None, "it is of a mask"
        counted = int(confusion.sum())
        accuracy = np.trace(confusion) / counted if counted else np.nan
        ious = class_ious(confusion) if self._named_classes else ()
        return np.array([foreground_dice(confusion), accuracy, *ious], np.float32)

    def ranks(self, row: np.ndarray) -> dict[GalleryName, float]:
        return {"worst": float(row[0]), "best": -float(row[0]), "random": 0.0}

    def cells(self, row: np.ndarray) -> list[str]:
        dice, accuracy, *ious = row.tolist()
        return [_number(value) for value in (dice, *ious, accuracy)]

    def example_fields(self, row: np.ndarray) -> dict[str, Any]:
        return {"score": float(row[0])}

    def evaluation_fields(self, rows: np.ndarray, pixels: np.ndarray | None) -> dict[str, Any]:
        assert pixels is not None, "each mask is counted"
        return {
            "classes": class_scores(self.class_names, pixels, iou=True),
            "confusion": pixels.tolist(),
            "dice_histogram": dice_histogram(rows[:, 0]),
        }


class ClassOutput:
    """Row: the true class, the predicted one, and the probabilities of the predicted and of the true class."""

    columns = ("actual", "predicted", "probability", "actual_probability", "correct")

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = class_names

    def row(self, image: ScoredPrediction) -> np.ndarray:
        probabilities, actual = _probabilities(image), int(image.target)
        predicted = int(probabilities.argmax())
        return np.array([actual, predicted, probabilities[predicted], probabilities[actual]], np.float32)

    def ranks(self, row: np.ndarray) -> dict[GalleryName, float]:
        """Worst are the most confident mistakes."""
        actual, predicted, probability, _ = row.tolist()
        return {"best" if actual == predicted else "worst": -probability, "random": 0.0}

    def cells(self, row: np.ndarray) -> list[str]:
        actual, predicted = self._names(row)
        return [actual, predicted, _number(row[2]), _number(row[3]), _boolean(row[0] == row[1])]

    def example_fields(self, row: np.ndarray) -> dict[str, Any]:
        actual, predicted = self._names(row)
        return {
            "actual": [actual],
            "predicted": [predicted],
            "probability": float(row[2]),
            "actual_probability": float(row[3]),
        }

    def evaluation_fields(self, rows: np.ndarray, pixels: np.ndarray | None) -> dict[str, Any]:
        count = len(self.class_names)
        actual, predicted = rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64)
        confusion = np.bincount(actual * count + predicted, minlength=count * count).reshape(count, count)
        bins = calibration(rows[:, 2], actual == predicted)
        return {
            "classes": class_scores(self.class_names, confusion),
            "confusion": confusion.tolist(),
            "calibration": bins,
            "ece": expected_calibration_error(bins),
        }

    def _names(self, row: np.ndarray) -> tuple[str, str]:
        return self.class_names[int(row[0])], self.class_names[int(row[1])]


class LabelsOutput:
    """Any number of classes in an image. Row: each class's probability, then 1 or 0 for each in the target.

    Cells hold lists as JSON, since names may hold any separator; probabilities stand in the order of the names.
    """

    columns = ("actual", "predicted", "probability", "actual_probability", "correct")

    def __init__(self, class_names: Sequence[str], threshold: float) -> None:
        self.class_names = class_names
        self.threshold = threshold

    def row(self, image: ScoredPrediction) -> np.ndarray:
        return np.concatenate([_probabilities(image), image.target], dtype=np.float32)

    def ranks(self, row: np.ndarray) -> dict[GalleryName, float]:
        """By the class whose probability is furthest from the target."""
        probabilities, target = self._parts(row)
        furthest = float(np.abs(probabilities - target).max())
        right = np.array_equal(probabilities > self.threshold, target > 0)
        return {"best": furthest, "random": 0.0} if right else {"worst": -furthest, "random": 0.0}

    def cells(self, row: np.ndarray) -> list[str]:
        probabilities, target = self._parts(row)
        actual, predicted = target > 0, probabilities > self.threshold
        names = [json.dumps(self._named(of), ensure_ascii=False) for of in (actual, predicted)]
        numbers = [[round(value, DECIMALS) for value in probabilities[of].tolist()] for of in (predicted, actual)]
        return [*names, *map(json.dumps, numbers), _boolean(np.array_equal(actual, predicted))]

    def example_fields(self, row: np.ndarray) -> dict[str, Any]:
        probabilities, target = self._parts(row)
        return {"actual": self._named(target > 0), "predicted": self._named(probabilities > self.threshold)}

    def evaluation_fields(self, rows: np.ndarray, pixels: np.ndarray | None) -> dict[str, Any]:
        import torch

        from byoc_vision.evaluation.metrics import average_precisions  # torchmetrics takes seconds

        count = len(self.class_names)
        probabilities, targets = rows[:, :count], rows[:, count:]
        precisions = average_precisions(torch.from_numpy(probabilities), torch.from_numpy(targets).to(torch.int64))
        return {"classes": label_scores(self.class_names, targets > 0, probabilities > self.threshold, precisions)}

    def _parts(self, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return row[: len(self.class_names)], row[len(self.class_names) :]

    def _named(self, chosen: np.ndarray) -> list[str]:
        return [self.class_names[index] for index in np.flatnonzero(chosen).tolist()]


def _probabilities(image: ScoredPrediction) -> np.ndarray:
    """float32 [K]; 0 instead of NaN, which a model that diverged predicts."""
    assert isinstance(image.prediction, Classification)
    probabilities: np.ndarray = np.nan_to_num(image.prediction.probabilities, nan=0.0)
    return probabilities


def _number(value: float) -> str:
    """Empty for NaN."""
    return "" if np.isnan(value) else f"{value:.{DECIMALS}f}"


def _boolean(yes: bool | np.bool_) -> str:
    return "true" if yes else "false"
