"""A process's share of an evaluation: run by a test in two processes."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence

import numpy as np
from support.gloo import joined

from byoc_vision.evaluation.metrics import ClassificationMetrics, MultiLabelMetrics, SegmentationMetrics
from byoc_vision.evaluation.scoring import ScoredPrediction, score
from byoc_vision.inference.predictor import Classification, Segmentation
from byoc_vision.types import ClassInfo

NAMES = ("a", "b", "c")
MASKS = [np.random.default_rng(seed).integers(0, 3, (2, 7, 9), dtype=np.uint8) for seed in range(7)]
IMAGES = [(0, 1), (1, 1), (2, 2)]  # answer and target


def measure(masks: Sequence[np.ndarray], images: Sequence[tuple[int, int]]) -> list[dict[str, float]]:
    """Metrics of the shares of all processes, the same in each."""
    segmentation, classification = SegmentationMetrics(NAMES), ClassificationMetrics(NAMES, top_k=2)
    multi_label = MultiLabelMetrics(NAMES)
    classes = tuple(ClassInfo(name=name, value=value) for value, name in enumerate(NAMES))
    segmentation.update(
        score(Segmentation(labels, classes, lambda: np.zeros(0)), target, 3) for labels, target in masks
    )
    for answer, label in images:
        vector = (np.roll([0.9, 0.6, 0.2], answer) * (0.5 + label / 4)).astype(np.float32)
        classification.update([ScoredPrediction(Classification(vector, NAMES), np.array(label))])
        multi_label.update(
            [ScoredPrediction(Classification(vector, NAMES, threshold=0.5), np.eye(3, dtype=np.uint8)[label])]
        )
    return [segmentation.compute(), classification.compute(), multi_label.compute()]


def measure_together(
    rank: int, store: str, masks: Sequence[np.ndarray], images: Sequence[tuple[int, int]]
) -> list[dict[str, float]]:
    """What `measure` gives in one of two processes that talk to each other."""
    with joined(rank, store):
        return measure(masks, images)


def tell_figures(rank: int, store: str, masks: Sequence[np.ndarray], images: Sequence[tuple[int, int]]) -> None:
    warnings.simplefilter("ignore")  # where it has nothing to measure
    print(json.dumps(measure_together(rank, store, masks, images)))
