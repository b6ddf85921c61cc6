"""The figures of a record by name, as trackers show them."""

from __future__ import annotations

import math
import re
from typing import Any

from byoc_vision.report.record import Epoch, Record

MOST_FIGURES = 200  # curves that anybody looks at, and that a server takes each epoch
_OF_ONE_CLASS = re.compile("/(iou|f1)_")


def epoch_figures(epoch: Epoch) -> dict[str, float]:
    """Of one epoch. Figures that are no number are left out; with very many classes their own figures are, too."""
    figures = {
        "train/loss": epoch.train_loss,
        "learning_rate": epoch.learning_rate,
        "speed/images_per_second": epoch.images_per_second,
        "speed/data_wait": epoch.data_wait,
        "speed/epoch_seconds": epoch.seconds,
    }
    return _numbers(figures | {f"validation/{name}": value for name, value in epoch.validation.items()})


def final_figures(record: Record) -> dict[str, float]:
    """Of the best epoch, and of the `test` images where there are any."""
    figures = {f"best/{name}": value for name, value in record.validation.items()}
    figures |= {f"test/{name}": value for name, value in (record.test or {}).items()}
    return _numbers(figures)


def parameters(record: Record) -> dict[str, str]:
    """All hyperparameters as text, defaults too; `-` where there is none."""
    return {name: _shown(value) for name, value in record.run.hyperparameters.items()}


def _shown(value: Any) -> str:
    if value is None or value in ([], ()):
        return "-"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _numbers(figures: dict[str, float | None]) -> dict[str, float]:
    if len(figures) > MOST_FIGURES:
        figures = {name: value for name, value in figures.items() if not _OF_ONE_CLASS.search(name)}
    return {name: value for name, value in figures.items() if value is not None and math.isfinite(value)}
