"""The metrics of a model, at each image's own size.

torchmetrics keeps their states and brings those of all processes together before `compute`: counts, which are summed,
or the predictions themselves. A sharded evaluation gives the metrics of a single one to the last bit.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from itertools import compress
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassRecall,
    MulticlassStatScores,
)
from torchmetrics.functional.classification import (
    binary_average_precision,
    multilabel_exact_match,
    multilabel_stat_scores,
)
from torchmetrics.utilities.data import dim_zero_cat

from byoc_vision.evaluation.metric_names import class_keys
from byoc_vision.evaluation.scoring import ScoredPrediction, class_ious, foreground_dice
from byoc_vision.inference.predictor import Classification

logger = logging.getLogger(__name__)

_ONE = 2**40  # the unit of summed Dice


class SegmentationMetrics(Metric):
    """Dice, mIoU, each class's IoU, and pixel accuracy.

    dice: 2|A and B| / (|A| + |B|) of an image, the mean over its foreground classes (all but the first; those that are
    in the prediction or in the target) and over the images; 1 if both are all background. Kaggle's Carvana challenge
    used it. An image without a pixel that counts is left out.
    miou, iou_CLASS: |A and B| / |A or B| over the pixels of all images, as PASCAL VOC has it; a class that neither
    the predictions nor the targets have is left out.
    pixel_accuracy: the share of the pixels that are right.
    """

    full_state_update = False
    higher_is_better = True
    confusion: Tensor  # int64 [K, K]: pixels by target and prediction
    dice_sum: Tensor  # int64, in units of 1 / _ONE: sums of integers do not depend on their order
    images: Tensor  # int64
    uncounted: Tensor  # int64: images of which all pixels are ignored

    def __init__(self, class_names: Sequence[str]) -> None:
        super().__init__()
        self.class_names = tuple(class_names)
        count = len(self.class_names)
        self.add_state("confusion", torch.zeros(count, count, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("dice_sum", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("images", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("uncounted", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.to(_collective_device())

    def update(self, images: Iterable[ScoredPrediction]) -> None:
        """A batch, gone through image by image. The targets are class indices, uint8 [H, W], 255: not counted."""
        for image in images:
            assert image.confusion is not None, "it is of a mask"
            if not image.confusion.any():
                self.uncounted += 1
                continue
            self.confusion += torch.from_numpy(image.confusion).to(self.device)
            self.dice_sum += round(foreground_dice(image.confusion) * _ONE)
            self.images += 1

    def compute(self) -> dict[str, float]:
        confusion = self.confusion.cpu().numpy()
        ious = zip(class_keys(self.class_names), class_ious(confusion).tolist(), strict=True)
        iou = {key: value for key, value in ious if not math.isnan(value)}
        if self.uncounted:
            logger.warning("%d masks hold ignored pixels alone: they are in no metric", int(self.uncounted))
        return {
            "dice": int(self.dice_sum) / _ONE / max(1, int(self.images)),
            "miou": float(np.mean(list(iou.values()))) if iou else 0.0,
            "pixel_accuracy": float(np.trace(confusion) / max(1, confusion.sum())),
            **{f"iou_{key}": value for key, value in iou.items()},
        }


class ClassificationMetrics:
    """Accuracy, and the means over the classes of F1, precision and recall, as torchmetrics defines them.

    A class that neither the predictions nor the targets have is in none of the means. f1_CLASS: of each other class.
    top_k: adds top_K_accuracy, how often the target is among the k likeliest classes.
    """

    def __init__(self, class_names: Sequence[str], top_k: int | None = None) -> None:
        self.class_names = tuple(class_names)
        count = len(self.class_names)
        self._top_k = None
        if top_k is not None:
            top = MulticlassAccuracy(count, top_k=top_k, average="micro", validate_args=False)
            self._top_k = top.to(_collective_device())
        self._metrics = MetricCollection(
            {
                "accuracy": MulticlassAccuracy(count, average="micro", validate_args=False),
                "f1": MulticlassF1Score(count, average="macro", validate_args=False),
                "precision": MulticlassPrecision(count, average="macro", validate_args=False),
                "recall": MulticlassRecall(count, average="macro", validate_args=False),
                "counts": MulticlassStatScores(count, average=None, validate_args=False),
            }
        ).to(_collective_device())

    def update(self, images: Iterable[ScoredPrediction]) -> None:
        """A batch. The targets are classes, int64 []."""
        probabilities, targets = (tensor.to(self._metrics["accuracy"].device) for tensor in _stacked(images))
        self._metrics.update(probabilities.argmax(dim=1), targets)
        if self._top_k is not None:
            self._top_k.update(probabilities, targets)

    def compute(self) -> dict[str, float]:
        values = self._metrics.compute()
        if self._top_k is not None:
            values[f"top_{self._top_k.top_k}_accuracy"] = self._top_k.compute()
        counts = zip(class_keys(self.class_names), values.pop("counts").tolist(), strict=True)
        return {
            **{name: float(value) for name, value in values.items()},
            **{f"f1_{key}": 2 * tp / (2 * tp + fp + fn) for key, (tp, fp, _, fn, _) in counts if tp + fp + fn},
        }


class MultiLabelMetrics(Metric):
    """The metrics of predictions of yes or no for each class.

    map: the average precision of each class's probabilities, exact, the mean of the classes that occur. PASCAL VOC and
    COCO rank by it; it needs no threshold.
    accuracy: the share of all predictions that are right. exact_match: the share of images with all of them right.
    f1: the mean of the classes' F1; f1_CLASS: each one's; micro_f1: F1 of all predictions together. A class that
    neither the predictions nor the targets have is in none of them.

    Every process keeps all predictions, and those of the others when they are computed: 8 bytes for each image and
    class, 64 MB for 100,000 images of 80 classes; next to the network on a GPU.
    """

    full_state_update = False
    higher_is_better = True
    # Flat, since a process without images adds an empty list to those of the others; the targets are float32 likewise.
    probabilities: list[Tensor]
    targets: list[Tensor]

    def __init__(self, class_names: Sequence[str], threshold: float = 0.5) -> None:
        super().__init__()
        self.class_names = tuple(class_names)
        self.threshold = threshold
        self.add_state("probabilities", [], dist_reduce_fx="cat")
        self.add_state("targets", [], dist_reduce_fx="cat")
        self.to(_collective_device())

    def update(self, images: Iterable[ScoredPrediction]) -> None:
        """A batch. The targets are 1 or 0 for each class, uint8 [K]."""
        probabilities, targets = _stacked(images)
        self.probabilities.append(probabilities.flatten().to(self.device))
        self.targets.append(targets.flatten().to(self.device, torch.float32))

    def compute(self) -> dict[str, float]:
        count = len(self.class_names)
        probabilities = dim_zero_cat(self.probabilities).reshape(-1, count)
        targets = dim_zero_cat(self.targets).reshape(-1, count).to(torch.int64)
        if probabilities.isnan().any():  # torchmetrics would take the others for logits
            return dict.fromkeys(("map", "accuracy", "exact_match", "f1", "micro_f1"), math.nan)
        options: dict[str, Any] = {"num_labels": count, "threshold": self.threshold, "validate_args": False}
        counts = multilabel_stat_scores(probabilities, targets, average=None, **options)
        right, false_alarms, rejected, missed, _ = counts.reshape(count, 5).T
        occurring = (right + false_alarms + missed) > 0
        f1 = (2 * right / (2 * right + false_alarms + missed))[occurring].tolist()
        return {
            "map": _mean(value for value in average_precisions(probabilities, targets) if value is not None),
            "accuracy": float((right + rejected).sum() / counts.reshape(count, 5)[:, :4].sum()),
            "exact_match": float(multilabel_exact_match(probabilities, targets, **options)),
            "f1": _mean(f1),
            "micro_f1": float(2 * right.sum() / (2 * right + false_alarms + missed).sum().clamp(min=1)),
            **{
                f"f1_{key}": value
                for key, value in zip(compress(class_keys(self.class_names), occurring.tolist()), f1, strict=True)
            },
        }


def average_precisions(probabilities: Tensor, targets: Tensor) -> list[float | None]:
    """Of each class's probabilities, float32 [N, K], with targets, int64 [N, K]; None of a class that never occurs."""
    return [
        float(binary_average_precision(probabilities[:, index], targets[:, index], validate_args=False))
        if targets[:, index].any()
        else None
        for index in range(targets.shape[1])
    ]


def _stacked(images: Iterable[ScoredPrediction]) -> tuple[Tensor, Tensor]:
    """Probabilities, float32 [N, K], and targets, [N] or [N, K]. One update a batch: each takes a millisecond."""
    listed = list(images)
    predictions = [image.prediction for image in listed]
    probabilities = [found.probabilities for found in predictions if isinstance(found, Classification)]
    return torch.from_numpy(np.stack(probabilities)), torch.from_numpy(np.stack([image.target for image in listed]))


def _mean(values: Iterable[float]) -> float:
    """0 of nothing."""
    listed = list(values)
    return sum(listed) / max(1, len(listed))


def _collective_device() -> torch.device:
    """Where a state must be for the processes to sum it: NCCL reaches only the GPU."""
    on_gpu = dist.is_initialized() and dist.get_backend() == "nccl"
    return torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")
