"""One epoch: its metrics, and its line in the log. Importing it imports no library."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

Metrics = dict[str, float]
T = TypeVar("T")

MOST_METRICS = 40  # in a line of the log
_OF_ONE_CLASS = re.compile("[:/](iou|f1)_")


@dataclass(frozen=True)
class EpochRecord:
    """One epoch. learning_rate: the one that it began with.

    seconds: with its validation. images_per_second, data_wait: of its training alone, see `Throughput`.
    averaged: whether the validation is of the averaged weights, which were better than the last ones.
    """

    epoch: int
    learning_rate: float
    train_loss: float
    validation: Metrics
    seconds: float
    images_per_second: float = 0.0
    data_wait: float = 0.0
    averaged: bool = False

    def line(self, classes: int | None = None) -> str:
        """One line of the log, in a stable form that SageMaker's metric regexes read.

        classes: of the model. If the mean over the classes leaves some out, the line ends with their number.
        """
        metrics = metrics_line({"train:loss": self.train_loss} | named("validation", self.validation))
        note, averaged = coverage_note(self.validation, classes), " (averaged weights)" if self.averaged else ""
        return (
            f"epoch={self.epoch} {metrics} learning_rate={self.learning_rate:.3g} seconds={self.seconds:.1f} "
            f"images_per_second={self.images_per_second:.1f} data_wait={self.data_wait:.0%}{note}{averaged}"
        )


def coverage_note(metrics: Mapping[str, float], classes: int | None) -> str:
    """` (f1 over 9 of 10 classes)` if neither predictions nor targets have the tenth; empty if the mean has all."""
    mean = "miou" if "miou" in metrics else "f1"
    counted = sum(name.startswith("iou_" if mean == "miou" else "f1_") for name in metrics)
    if classes is None or mean not in metrics or not 0 < counted < classes:
        return ""
    return f" ({mean} over {counted} of {classes} classes)"


def metrics_line(metrics: Metrics) -> str:
    """`name=value` of each metric. With very many classes those of single classes are only in metrics.json."""
    return " ".join(f"{name}={value:.4f}" for name, value in shortened(metrics, MOST_METRICS).items())


def shortened(metrics: Mapping[str, T], most: int) -> dict[str, T]:
    """The metrics, or without those of single classes if there are more than `most`."""
    return {name: value for name, value in metrics.items() if len(metrics) <= most or not _OF_ONE_CLASS.search(name)}


def named(prefix: str, metrics: Mapping[str, float]) -> Metrics:
    return {f"{prefix}:{name}": value for name, value in metrics.items()}
