"""The names of the figures that each task is measured by. Importing them imports no library."""

from __future__ import annotations

import re

from byoc_vision.types import Task


def figures_of(task: Task, *, multi_label: bool = False, classes: int | None = None) -> tuple[str, ...]:
    """The figures that may decide which epoch is kept, the usual one first.

    classes: of pixels; where they are not known, an object and its background are meant.
    """
    if task == "classification":
        several, one = ("map", "f1", "micro_f1", "accuracy", "exact_match"), ("accuracy", "f1", "precision", "recall")
        return (*(several if multi_label else one), "loss")
    usual = ("dice", "miou") if classes in (None, 2) else ("miou", "dice")
    return (*usual, "pixel_accuracy", "loss")


def class_key(class_name: str) -> str:
    """A class name as a part of a metric's, which regular expressions are to find in the log: without blanks."""
    return re.sub(r"[\s=]+", "_", class_name)
