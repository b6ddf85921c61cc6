"""What the check of the data has seen, for logs and reports."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from byoc_vision.types import Task

REPORT_FILE = "preflight.json"
SCHEMA_VERSION = 1

_PUBLIC = Field(validation_alias="pictures")  # the key in preflight.json, which is public and stays


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

    value: its pixel value in masks. images: split → images of the class, or that show it.
    pixel_share: of all counted pixels in the training masks, 0–1. Both None for classification.
    """

    name: str
    value: int | None
    images: Annotated[dict[str, int], _PUBLIC]
    pixel_share: float | None

    @property
    def in_training(self) -> int:
        return self.images.get("train", 0)


@dataclass(frozen=True)
class Channels:
    """Red, green and blue over the training images, each image counting alike, in units of 0–1."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class Coverage:
    """The share of counted pixels that are foreground, 0–1 an image, over the training masks.

    empty, full: masks without any foreground, and masks without any background.
    """

    minimum: float
    median: float
    maximum: float
    masks: int
    empty: int
    full: int


@dataclass(frozen=True)
class Tones:
    """How many training images are remarkable: grey, nearly black, nearly white, of two tones at the most."""

    images: Annotated[int, _PUBLIC]
    grey: int
    dark: int
    bright: int
    two_tone: int


@dataclass(frozen=True)
class Duplicates:
    """Images whose files hold the same bytes.

    within: copies of an image of the same split. across: pairs of files in two splits.
    contradicting: pairs of files with different classes.
    uncompared: images whose files were not compared with others that are as large.
    """

    within: int = 0
    across: list[tuple[str, str]] = field(default_factory=list)
    contradicting: list[tuple[str, str]] = field(default_factory=list)
    uncompared: int = 0


@dataclass(frozen=True)
class PreflightReport:
    """The data in figures.

    samples, checked: split → how many there are, and how many of them were read.
    ignore_value: the mask value that is not counted; ignored_share: of the pixels in training masks, 0–1.
    height, width: of the upright images of all splits. input_size: the model's, (height, width), and smaller: the
    images that fall short of it. unlabelled: training images without any class (multi-label).
    bad: the samples that cannot be used, and why, up to a limit; bad_count: how many they are; skipped: whether they
    are left out.
    seconds: what the check took.
    """

    task: Task
    samples: dict[str, int]
    checked: dict[str, int]
    classes: list[ClassReport]
    ignore_value: int | None
    ignored_share: float | None
    height: Range | None
    width: Range | None
    input_size: tuple[int, int] | None
    smaller: int | None
    channels: Channels | None
    tones: Tones
    coverage: Coverage | None
    duplicates: Duplicates
    unlabelled: int | None
    bad: list[str]
    bad_count: int
    skipped: bool
    warnings: list[str]
    errors: list[str]
    seconds: float

    @property
    def is_sampled(self) -> bool:
        return self.checked != self.samples

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self, dict_factory=_with_public_keys)}


def _with_public_keys(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    return {"pictures" if name == "images" else name: value for name, value in fields}


def write_report(path: Path, report: PreflightReport) -> None:
    """Raises OSError."""
    _write(path, report.as_dict())


def write_refusal(path: Path, error: Exception) -> None:
    """The report of data that could not even be listed as samples. Raises OSError."""
    _write(path, {"schema_version": SCHEMA_VERSION, "warnings": [], "errors": [str(error)]})


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
