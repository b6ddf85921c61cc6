"""The threshold of a binary mask, and the size of parts that are noise: chosen on the validation images.

Thresholds that maximise Dice are often not one half: Lipton et al., "Optimal Thresholding of Classifiers to Maximize
F1 Measure", 2014. Small false parts cost an image without an object all of its Dice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from byoc_vision.data.loaders import EvaluationBatch
from byoc_vision.evaluation.evaluator import Evaluator, MetricSet, build_metrics
from byoc_vision.evaluation.metric_names import Objective
from byoc_vision.evaluation.scoring import ScoredPrediction, confusion_matrix
from byoc_vision.inference.postprocess import without_small_parts
from byoc_vision.inference.predictor import Prepared, Segmentation

# The default is first: of equal ones the first is taken.
THRESHOLDS = (0.5, 0.45, 0.55, 0.4, 0.6, 0.35, 0.65, 0.3, 0.7, 0.25, 0.75, 0.2, 0.8, 0.15, 0.85, 0.1, 0.9)
LEAST_AREAS = (0.0, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)  # shares of the image

Stopping = Callable[[], bool]
Batches = Iterable[EvaluationBatch]


def choose_threshold(evaluator: Evaluator, batches: Batches, objective: Objective, stopping: Stopping) -> float:
    """The threshold of the best metric. Call it in all processes; raises as `Evaluator.evaluate` does."""

    def masks(prediction: Segmentation) -> Iterable[np.ndarray]:
        probability = prediction.probabilities[1]
        return ((probability > threshold).view(np.uint8) for threshold in THRESHOLDS)

    return _best(evaluator, batches, objective, stopping, THRESHOLDS, masks)


def choose_least_area(evaluator: Evaluator, batches: Batches, objective: Objective, stopping: Stopping) -> float:
    """The share of the image below which a part is left out, of the best metric. Call and raises as the other."""

    def masks(prediction: Segmentation) -> Iterable[np.ndarray]:
        return (without_small_parts(prediction.labels, least) for least in LEAST_AREAS)

    return _best(evaluator, batches, objective, stopping, LEAST_AREAS, masks)


def comparable(objective: Objective) -> Objective:
    """The loss does not depend on the mask: Dice does."""
    return Objective("dice") if objective.name == "loss" else objective


class _Variants:
    """Measures several masks of each prediction."""

    def __init__(self, measured: Sequence[MetricSet], masks: Callable[[Segmentation], Iterable[np.ndarray]]) -> None:
        self.measured = measured
        self.masks = masks

    def add(self, sample_index: int, prepared: Prepared, image: ScoredPrediction) -> None:
        assert isinstance(image.prediction, Segmentation)
        for metrics, mask in zip(self.measured, self.masks(image.prediction), strict=True):
            confusion = confusion_matrix(mask, image.target, len(image.prediction.classes))
            metrics.update([ScoredPrediction(image.prediction, image.target, confusion)])


def _best(
    evaluator: Evaluator,
    batches: Batches,
    objective: Objective,
    stopping: Stopping,
    choices: Sequence[float],
    masks: Callable[[Segmentation], Iterable[np.ndarray]],
) -> float:
    objective = comparable(objective)
    variants = _Variants([build_metrics(evaluator.predictor.config) for _ in choices], masks)
    evaluator.evaluate(batches, stopping, variants)
    best, found = choices[0], variants.measured[0].compute()[objective.name]
    for choice, metrics in zip(choices[1:], variants.measured[1:], strict=True):
        value = metrics.compute()[objective.name]
        if objective.is_better(value, found):
            best, found = choice, value
    return best
