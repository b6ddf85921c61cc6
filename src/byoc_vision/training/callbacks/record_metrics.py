"""The metrics of a run by name, as TensorBoard and MLflow show them."""

from __future__ import annotations

import math
import re
from typing import Any

from byoc_vision.report.record import Epoch, Record

MOST_METRICS = 200  # curves, all of which a server takes in each epoch
_OF_ONE_CLASS = re.compile("/(iou|f1)_")


def epoch_metrics(epoch: Epoch) -> dict[str, float]:
    """Of one epoch, without those that are not a number; with very many classes without those of single classes."""
    metrics = {
        "train/loss": epoch.train_loss,
        "learning_rate": epoch.learning_rate,
        "speed/images_per_second": epoch.images_per_second,
        "speed/data_wait": epoch.data_wait,
        "speed/epoch_seconds": epoch.seconds,
    }
    return _numbers(metrics | {f"validation/{name}": value for name, value in epoch.validation.items()})


def final_metrics(record: Record) -> dict[str, float]:
    """Of the best epoch, and of the `test` images if there are any."""
    metrics = {f"best/{name}": value for name, value in record.validation.items()}
    metrics |= {f"test/{name}": value for name, value in (record.test or {}).items()}
    return _numbers(metrics)


def parameters(record: Record) -> dict[str, str]:
    """All hyperparameters as text, also the defaults; `-` stands for none."""
    return {name: _shown(value) for name, value in record.run.hyperparameters.items()}


def _shown(value: Any) -> str:
    if value is None or value in ([], ()):
        return "-"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _numbers(metrics: dict[str, float | None]) -> dict[str, float]:
    if len(metrics) > MOST_METRICS:
        metrics = {name: value for name, value in metrics.items() if not _OF_ONE_CLASS.search(name)}
    return {name: value for name, value in metrics.items() if value is not None and math.isfinite(value)}
