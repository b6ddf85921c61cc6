"""From counts to what a report shows of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from byoc_vision.report.record import CalibrationBin, ClassScore

DICE_BINS = 20
CALIBRATION_BINS = 10


def class_scores(names: Sequence[str], confusion: np.ndarray, *, iou: bool = False) -> list[ClassScore]:
    """Each class's scores, of pixels or images by target and answer, int64 [K, K]. iou: for masks."""
    right, in_truth, in_answer = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    return [
        ClassScore(
            name=name,
            support=int(true),
            precision=_ratio(hits, said),
            recall=_ratio(hits, true),
            f1=_ratio(2 * hits, said + true),
            iou=_ratio(hits, said + true - hits) if iou else None,
        )
        for name, hits, true, said in zip(names, right, in_truth, in_answer, strict=True)
    ]


def label_scores(
    names: Sequence[str], present: np.ndarray, said: np.ndarray, average_precisions: Sequence[float | None]
) -> list[ClassScore]:
    """Each class's scores where an image has several: bool [N, K] of the target and of the answers."""
    hits, true, answered = (present & said).sum(axis=0), present.sum(axis=0), said.sum(axis=0)
    return [
        ClassScore(
            name=name,
            support=int(true[index]),
            precision=_ratio(hits[index], answered[index]),
            recall=_ratio(hits[index], true[index]),
            f1=_ratio(2 * hits[index], answered[index] + true[index]),
            average_precision=average_precisions[index],
        )
        for index, name in enumerate(names)
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
    """How far confidence is from accuracy, the mean over the images (Guo et al., 2017, equation 3); None of none.

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
