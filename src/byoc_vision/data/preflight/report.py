"""What the check of the data found: JSON for reports, lines for the log."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from byoc_vision.atomic_write import write_whole
from byoc_vision.types import Task

REPORT_FILE = "preflight.json"
SCHEMA_VERSION = 1

_PUBLIC = Field(validation_alias="pictures")  # the key in preflight.json is public and stays


@dataclass(frozen=True)
class Range:
    """Lengths of a side, in pixels."""

    minimum: int
    median: int
    maximum: int

    @classmethod
    def of(cls, values: Sequence[int]) -> Range:
        return cls(min(values), int(statistics.median(values)), max(values))


@dataclass(frozen=True)
class ClassReport:
    """One class.

    value: its pixel value in masks. images: split → number of images with the class.
    pixel_share: of all counted pixels in the training masks, 0–1. value and pixel_share are None for classification.
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
    """Red, green and blue, or each band, over the training images, with equal weight for each image, 0–1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Coverage:
    """The foreground's share of the counted pixels of each training mask, 0–1.

    masks: their number. empty, full: masks without foreground, and masks without background.
    """

    minimum: float
    median: float
    maximum: float
    masks: int
    empty: int
    full: int


@dataclass(frozen=True)
class Tones:
    """How many training images are unusual: grey, nearly black, nearly white, with at most two values."""

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
    uncompared: images whose files were not compared with others of the same size.
    """

    within: int = 0
    across: list[tuple[str, str]] = field(default_factory=list)
    contradicting: list[tuple[str, str]] = field(default_factory=list)
    uncompared: int = 0


@dataclass(frozen=True)
class PreflightReport:
    """The data in numbers.

    samples, checked: split → number of samples, and number of those that were read.
    ignore_value: the mask value that does not count; ignored_share: its share of the pixels in training masks, 0–1.
    height, width: of the upright images of all splits. input_size: of the model, (height, width); smaller: the number
    of images below it. unlabelled: training images without any class (multi-label).
    bad: the invalid samples and what is wrong with them, up to a limit; bad_count: their number; skipped: whether they
    are left out. seconds: the duration of the check.
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
    """The report of data in which no samples could be found. Raises OSError."""
    _write(path, {"schema_version": SCHEMA_VERSION, "warnings": [], "errors": [str(error)]})


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


# With more classes than twice this number, the table shows the largest and the smallest ones only.
SHOWN_AT_EACH_END = 10


def summary(report: PreflightReport) -> list[str]:
    """The report as aligned log lines, without warnings and errors."""
    named = summary_rows(report)
    width = max(len(name) for name, _ in named)
    return [*(f"{name:<{width}}  {text}" for name, text in named), *_class_table(report)]


def summary_rows(report: PreflightReport) -> list[tuple[str, str]]:
    """The report without the classes: a word and a text for each row."""
    return [
        ("checked", _checked(report)),
        *_others(report),
        *_image_rows(report),
        *_mask_stats(report),
        *_copies(report),
    ]


def _checked(report: PreflightReport) -> str:
    checked, total = sum(report.checked.values()), sum(report.samples.values())
    counts = ", ".join(f"{count:,} {split}" for split, count in report.checked.items())
    of_all = f" of {total:,}" if report.is_sampled else ""
    return f"{checked:,}{of_all} images ({counts}) in {report.seconds:.1f} s"


def _others(report: PreflightReport) -> list[tuple[str, str]]:
    if not report.is_sampled:
        return []
    total = sum(report.samples.values())
    remedy = f"checked_pictures={total} or `byoc-vision check --pictures {total}` reads all before"
    return [("others", f"are there and not empty; they are read in the first epoch. {remedy}")]


def _image_rows(report: PreflightReport) -> list[tuple[str, str]]:
    if report.width is None or report.height is None:
        return []
    size = f"width {_extent(report.width)}, height {_extent(report.height)} pixels"
    if report.smaller and report.input_size:
        size += f"; {report.smaller:,} smaller than the input, {report.input_size[1]} × {report.input_size[0]}"
    rows = [("sizes", size)]
    if report.channels:
        mean, std = (
            " ".join(f"{value:.2f}" for value in values) for values in (report.channels.mean, report.channels.std)
        )
        kind = "RGB" if len(report.channels.mean) == 3 else f"{len(report.channels.mean)} bands"
        grey = f"; {report.tones.grey:,} of {report.tones.images:,} are grey" if report.tones.grey else ""
        rows.append(("channels", f"mean {mean}, std {std} ({kind}, 0–1){grey}"))
    return rows


def _extent(extent: Range) -> str:
    if extent.minimum == extent.maximum:
        return str(extent.minimum)
    return f"{extent.minimum}–{extent.maximum} (median {extent.median})"


def _mask_stats(report: PreflightReport) -> list[tuple[str, str]]:
    rows = []
    if report.coverage:
        seen = report.coverage
        extent = f"{seen.minimum:.1%} to {seen.maximum:.1%} of an image (median {seen.median:.1%})"
        rows.append(("foreground", f"{extent}; {seen.empty:,} masks empty, {seen.full:,} full"))
    if report.ignored_share:
        rows.append(("ignored", f"{report.ignored_share:.1%} of the pixels, value {report.ignore_value}"))
    if report.unlabelled is not None:
        rows.append(("unlabelled", f"{report.unlabelled:,} training images have no class"))
    return rows


def _copies(report: PreflightReport) -> list[tuple[str, str]]:
    rows = []
    if report.duplicates.within:
        within = f"{report.duplicates.within:,} images repeat another of their split, byte for byte"
        rows.append(("copies", within))
    if report.duplicates.uncompared:
        uncompared = f"{report.duplicates.uncompared:,} more files, each as large as another, were not compared with it"
        rows.append(("copies", uncompared))
    return rows


def _class_table(report: PreflightReport) -> list[str]:
    if not report.classes:
        return []
    masks = report.task == "segmentation"
    splits = list(report.samples)
    header = ["class", *(["value"] if masks else []), *splits, "share of pixels" if masks else "share"]
    # If images have several classes, the shares add up to more than one.
    total = sum(entry.in_training for entry in report.classes) if report.unlabelled is None else report.samples["train"]
    classes, left_out = _shown(report.classes)
    rows = [header, *(_row(entry, splits, total) for entry in classes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = [_aligned(row, widths) for row in rows]
    if left_out:
        middle = 1 + SHOWN_AT_EACH_END
        lines.insert(middle, f"… and {left_out:,} classes between")
    return lines


def _shown(classes: Sequence[ClassReport]) -> tuple[Sequence[ClassReport], int]:
    """The classes in their order; of many only the largest and the smallest, and the number of the others."""
    left_out = len(classes) - 2 * SHOWN_AT_EACH_END
    if left_out <= 0:
        return classes, 0
    ordered = sorted(classes, key=lambda entry: (-(entry.pixel_share or 0), -entry.in_training))
    return [*ordered[:SHOWN_AT_EACH_END], *ordered[-SHOWN_AT_EACH_END:]], left_out


def _row(entry: ClassReport, splits: Sequence[str], total: int) -> list[str]:
    counts = [f"{entry.images.get(split, 0):,}" for split in splits]
    if entry.pixel_share is None:
        return [entry.name, *counts, f"{entry.in_training / max(total, 1):.1%}"]
    return [entry.name, str(entry.value), *counts, f"{entry.pixel_share:.1%}"]


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    """Names aligned left, numbers aligned right."""
    name, *numbers = row
    return "  ".join(
        [f"{name:<{widths[0]}}", *(f"{text:>{width}}" for text, width in zip(numbers, widths[1:], strict=True))]
    )
