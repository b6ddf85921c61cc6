"""What the check of the data has seen, for logs and reports."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from byoc_vision.models.spec import Task


@dataclass(frozen=True)
class Range:
    """The extent of a side, in pixels."""

    minimum: int
    median: int
    maximum: int

    @classmethod
    def of(cls, values: Sequence[int]) -> Range:
        return cls(min(values), int(statistics.median(values)), max(values))


@dataclass(frozen=True)
class ClassReport:
    """One class.

    value: its pixel value in masks. pictures: split → pictures of the class, or that show it.
    pixel_share: of all counted pixels in the training masks, 0–1. Both None for classification.
    """

    name: str
    value: int | None
    pictures: dict[str, int]
    pixel_share: float | None


@dataclass(frozen=True)
class PreflightReport:
    """The data in figures.

    samples: split → count. height, width: of the upright pictures of all splits. seconds: what the check took.
    """

    task: Task
    samples: dict[str, int]
    classes: list[ClassReport]
    height: Range
    width: Range
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For the log: the pictures in a line, the classes in another."""
        counts = ", ".join(f"{count} {split}" for split, count in self.samples.items())
        classes = ", ".join(self._describe(entry) for entry in self.classes)
        return [
            f"pictures are whole: {counts}; width {self.width.minimum}–{self.width.maximum}, "
            f"height {self.height.minimum}–{self.height.maximum} pixels; checked in {self.seconds:.1f} s",
            f"classes: {classes}",
        ]

    @staticmethod
    def _describe(entry: ClassReport) -> str:
        if entry.pixel_share is None:
            return f"{entry.name} ({entry.pictures.get('train', 0)} pictures)"
        return f"{entry.name} (value {entry.value}, {entry.pixel_share:.1%} of pixels)"
