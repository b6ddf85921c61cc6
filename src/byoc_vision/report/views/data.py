"""The data that a job was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from byoc_vision.data.preflight.report import REPORT_FILE as PREFLIGHT_FILE
from byoc_vision.data.preflight.report import ClassReport, PreflightReport, summary_rows
from byoc_vision.errors import DataError
from byoc_vision.report import formatting
from byoc_vision.report.record import Record

MOST_CLASSES = 1000  # in the table


@dataclass(frozen=True)
class ClassLine:
    """counts: of images, in the order of the splits. share: of the training pixels, or of the training images.

    bar: the share divided by the largest class's.
    """

    name: str
    value: int | None
    counts: list[int]
    share: float
    bar: float


@dataclass(frozen=True)
class Data:
    """facts: names and texts. left_out: the number of smallest classes not listed. unit: of the shares."""

    facts: list[tuple[str, str]]
    splits: list[str]
    classes: list[ClassLine]
    left_out: int
    unit: str
    warnings: list[str]
    errors: list[str]
    bad: list[str]
    bad_count: int
    skipped: bool

    @property
    def has_values(self) -> bool:
        return any(line.value is not None for line in self.classes)


def read_preflight(folder: Path) -> PreflightReport | None:
    """The data's check in a job's output; None if there is none, or if the data could not even be listed.

    Raises DataError if it cannot be read.
    """
    path = folder / PREFLIGHT_FILE
    try:
        return TypeAdapter(PreflightReport).validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error})") from error
    except ValidationError as error:
        if any(problem["type"] == "missing" and problem["loc"] == ("task",) for problem in error.errors()):
            return None  # the data were refused; its errors are the job's own
        raise DataError(f"{path} cannot be read as a check of the data ({error.error_count()} errors)") from error


def data(preflight: PreflightReport) -> Data:
    splits = list(preflight.samples)
    total = sum(entry.in_training for entry in preflight.classes)
    if preflight.unlabelled is not None:
        total = preflight.samples.get("train", 0)  # an image may have several classes
    shares = [_share(entry, total) for entry in preflight.classes]
    largest = max(shares, default=0.0) or 1.0
    lines = [
        ClassLine(entry.name, entry.value, [entry.images.get(split, 0) for split in splits], share, share / largest)
        for entry, share in zip(preflight.classes, shares, strict=True)
    ]
    if len(lines) > MOST_CLASSES:
        lines = sorted(lines, key=lambda line: -line.share)[:MOST_CLASSES]
    return Data(
        facts=[(formatting.capital(name), text) for name, text in summary_rows(preflight)],
        splits=splits,
        classes=lines,
        left_out=len(preflight.classes) - len(lines),
        unit="pixels" if preflight.task == "segmentation" else "images",
        warnings=preflight.warnings,
        errors=preflight.errors,
        bad=preflight.bad,
        bad_count=preflight.bad_count,
        skipped=preflight.skipped,
    )


def _share(entry: ClassReport, total: int) -> float:
    return entry.in_training / max(total, 1) if entry.pixel_share is None else entry.pixel_share


def data_summary(record: Record) -> str:
    """What the record itself says of the data."""
    splits = ", ".join(f"{formatting.count(number)} {split}" for split, number in record.images.items())
    classes = f"{len(record.classes)} class{'es' if len(record.classes) != 1 else ''}"
    return f"{splits or 'No'} images, {classes}"
