"""The names of the metrics of each task, and which of them decides. Importing them imports no library."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from byoc_vision.types import Task


@dataclass(frozen=True)
class Objective:
    """The validation metric that decides which epoch is kept."""

    name: str
    mode: Literal["max", "min"] = "max"

    def is_better(self, value: float, other: float) -> bool:
        """Whether `value` beats `other`. Any number beats NaN."""
        if math.isnan(other):
            return not math.isnan(value)
        return value > other if self.mode == "max" else value < other


def metrics_of(task: Task, *, multi_label: bool = False, classes: int | None = None) -> tuple[str, ...]:
    """The metrics that may decide which epoch is kept, the default first.

    The default is Dice for one kind of object, mIoU for several, accuracy for images, and mean average precision for
    images with several labels. classes: of pixels; None stands for an object and its background.
    """
    if task == "classification":
        several, one = ("map", "f1", "micro_f1", "accuracy", "exact_match"), ("accuracy", "f1", "precision", "recall")
        return (*(several if multi_label else one), "loss")
    default = ("dice", "miou") if classes in (None, 2) else ("miou", "dice")
    return (*default, "pixel_accuracy", "loss")


def class_key(class_name: str) -> str:
    """A class name as a part of a metric's name, which regular expressions find in the log: without blanks."""
    return re.sub(r"[\s=]+", "_", class_name)


def class_keys(class_names: Iterable[str]) -> list[str]:
    """The key of each class, all different: of `red car` and `red_car` the second is `red_car_2`."""
    keys: dict[str, None] = {}
    for name in class_names:
        key, number = class_key(name), 2
        while key in keys:
            key, number = f"{class_key(name)}_{number}", number + 1
        keys[key] = None
    return list(keys)
