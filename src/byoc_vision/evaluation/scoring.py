"""A prediction beside its target, counted once for the metrics, the tables and the galleries; and scores of counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from byoc_vision.inference.predictor import Prediction, Segmentation
from byoc_vision.report.record import CalibrationBin, ClassScore

DICE_BINS = 20
CALIBRATION_BINS = 10

_COUNTED_AT_ONCE = 2**24  # OpenCV counts in float32, which is exact up to here


@dataclass(frozen=True)
class ScoredPrediction:
    """An image's prediction and its target, as `EvaluationBatch` has it.

    confusion: of a mask, its pixels by target and prediction, int64 [K, K]; ignored pixels are not counted.
    """

    prediction: Prediction
    target: np.ndarray
    confusion: np.ndarray | None = None


def score(prediction: Prediction, target: np.ndarray, classes: int) -> ScoredPrediction:
    """Safe in any thread; most of it runs outside of Python's lock."""
    if isinstance(prediction, Segmentation):
        return ScoredPrediction(prediction, target, confusion_matrix(prediction.labels, target, classes))
    return ScoredPrediction(prediction, target)


def confusion_matrix(labels: np.ndarray, target: np.ndarray, classes: int) -> np.ndarray:
    """Pixels by target and prediction, int64 [classes, classes], of masks uint8 [H, W]. Other values are not counted.

    OpenCV's joint histogram takes 5 ms for an image of 1918 × 1280 on one core; np.bincount takes 13, torch's 24.
    """
    counts = np.zeros((classes, classes), dtype=np.int64)
    rows = max(1, _COUNTED_AT_ONCE // target.shape[1])
    for top in range(0, len(target), rows):
        part = [np.ascontiguousarray(mask[top : top + rows]) for mask in (target, labels)]
        counts += cv2.calcHist(part, [0, 1], None, [classes, classes], [0, classes, 0, classes]).astype(np.int64)
    return counts


def foreground_dice(confusion: np.ndarray) -> float:
    """The mean Dice of one image's foreground classes; 1 if neither target nor prediction has any."""
    areas = (confusion.sum(axis=0) + confusion.sum(axis=1))[1:]
    dice = 2 * np.diag(confusion)[1:][areas > 0] / areas[areas > 0]
    return float(dice.mean()) if len(dice) else 1.0


def class_ious(confusion: np.ndarray) -> np.ndarray:
    """|A and B| / |A or B| of each class, float64 [K]; NaN for a class that neither target nor prediction has."""
    right = np.diag(confusion)
    union = confusion.sum(axis=1) + confusion.sum(axis=0) - right
    ious = np.full(len(right), np.nan)
    np.divide(right, union, out=ious, where=union > 0)
    return ious


def class_scores(names: Sequence[str], confusion: np.ndarray, *, iou: bool = False) -> list[ClassScore]:
    """Each class's scores, of pixels or images by target and prediction, int64 [K, K]. iou: for masks."""
    return _class_scores(names, np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0), iou=iou)


def label_scores(
    names: Sequence[str], present: np.ndarray, predicted: np.ndarray, average_precisions: Sequence[float | None]
) -> list[ClassScore]:
    """Each class's scores if an image has several: bool [N, K] of the targets and of the predictions."""
    hits = (present & predicted).sum(axis=0)
    scores = _class_scores(names, hits, present.sum(axis=0), predicted.sum(axis=0))
    return [
        entry.model_copy(update={"average_precision": average_precision})
        for entry, average_precision in zip(scores, average_precisions, strict=True)
    ]


def _class_scores(
    names: Sequence[str], hits: np.ndarray, present: np.ndarray, predicted: np.ndarray, *, iou: bool = False
) -> list[ClassScore]:
    """Of each class's numbers, [K]: predicted rightly, in the targets, in the predictions."""
    return [
        ClassScore(
            name=name,
            support=int(true),
            precision=_ratio(right, positive),
            recall=_ratio(right, true),
            f1=_ratio(2 * right, positive + true),
            iou=_ratio(right, positive + true - right) if iou else None,
        )
        for name, right, true, positive in zip(names, hits, present, predicted, strict=True)
    ]


def dice_histogram(dice: np.ndarray) -> list[int]:
    """Images in each twentieth of 0–1, [N]; the last holds 1 too."""
    counts: list[int] = np.bincount(_bins(dice, DICE_BINS), minlength=DICE_BINS).tolist()
    return counts


def calibration(confidence: np.ndarray, right: np.ndarray) -> list[CalibrationBin]:
    """Images by their highest probability, [N], and how many of them were right, bool [N]."""
    places = _bins(confidence, CALIBRATION_BINS)
    images = np.bincount(places, minlength=CALIBRATION_BINS)
    confidences = np.bincount(places, confidence, CALIBRATION_BINS)
    rights = np.bincount(places, right, CALIBRATION_BINS)
    return [
        CalibrationBin(images=int(count), confidence=_ratio(sure, count), accuracy=_ratio(hits, count))
        for count, sure, hits in zip(images, confidences, rights, strict=True)
    ]


def expected_calibration_error(bins: Sequence[CalibrationBin]) -> float | None:
    """How far confidence is from accuracy, the mean over the images (Guo et al., 2017, equation 3); None without any.

    Of the bins that are shown: torchmetrics has one more, for probabilities of exactly 1.
    """
    total = sum(entry.images for entry in bins)
    gaps = (
        entry.images * abs(entry.confidence - entry.accuracy)
        for entry in bins
        if entry.confidence is not None and entry.accuracy is not None
    )
    return sum(gaps) / total if total else None


def _bins(values: np.ndarray, count: int) -> np.ndarray:
    """The bin of each value: `count` equal ones of 0–1, each with its lower edge, the last with both."""
    edges = (np.arange(count + 1) / count).astype(np.float32)
    places: np.ndarray = np.searchsorted(edges, values.astype(np.float32), side="right") - 1
    return places.clip(0, count - 1)


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None
