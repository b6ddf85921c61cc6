"""The types of hyperparameters: the spellings and the bounds of their values."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, NonNegativeFloat
from pydantic_core import PydanticCustomError

from byoc_vision.colours import mask_colours_text
from byoc_vision.hyperparameters.health import actions_text, thresholds_text
from byoc_vision.types import DataFormatName, ResizeRule

Choice = TypeVar("Choice")

# Larger numbers are mistakes: they would end a job later, in a library or for lack of memory.
MOST = 1_000_000_000
MOST_SEED = 2**53  # whole numbers that every reader of JSON keeps
MOST_UNITS = 65_536
MOST_WORKERS = 1_024
LEAST_SIDE, MOST_SIDE = 8, 16_384  # of an image, in pixels

MOST_BUDGET = 100 * 24 * 3600  # seconds; SageMaker's longest job takes 28 days

MOST_STEPS = 100  # of a trace: each step has thousands of events


@dataclass(frozen=True)
class Spelling:
    """How the documentation shows a type's values. pattern: for a schema; empty if it knows the type."""

    text: str
    pattern: str = ""


@dataclass(frozen=True)
class AnyText:
    """Marks text without a syntax of its own, although a validator reads it."""


def _as_numbers(value: Any) -> Any:
    """`"10, 20"`, `[10, 20]` and `10` are all a list of numbers."""
    if isinstance(value, str):
        return [part for part in value.replace(",", " ").split() if part]
    if isinstance(value, int | float):
        return [value]
    return value


def _as_size(value: Any) -> Any:
    """`256` is a square; `"320, 480"` and `320x480` are height and width."""
    numbers = _as_numbers(re.sub(r"(?<=\d)\s*[x×X]\s*(?=\d)", ",", value) if isinstance(value, str) else value)
    return numbers * 2 if isinstance(numbers, list) and len(numbers) == 1 else numbers


def _as_name(value: Any) -> Any:
    return value.strip().lower().replace("-", "_") if isinstance(value, str) else value


_PRECISIONS = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "half": "float16"}


def _as_precision(value: Any) -> Any:
    name = _as_name(value)
    return _PRECISIONS.get(name, name) if isinstance(name, str) else name


def _as_augmentation(value: Any) -> Any:
    """True is the default augmentation, False none."""
    return ("light" if value else "none") if isinstance(value, bool) else value


def _as_class_count(value: Any) -> Any:
    if str(value) == "1":
        raise PydanticCustomError(
            "num_classes", "it counts all classes, also the background: 2 for one kind of object; or leave it out"
        )
    return value


def _as_ignored_value(value: Any) -> Any:
    if str(value).startswith("-"):
        raise PydanticCustomError(
            "ignore_index",
            "it is a value of pixels in masks, from 0 to 255; leave it out if the masks have no such value",
        )
    return value


def _as_name_or_numbers(value: Any) -> Any:
    if isinstance(value, str) and any(letter.isdigit() for letter in value):
        return _as_numbers(value)
    return _as_name(value)


def _as_figure(value: Any) -> Any:
    """`validation:f1`, as tuners name it, is the metric f1."""
    return _as_name(value).removeprefix("validation:") if isinstance(value, str) else value


def _as_steps(value: Any) -> Any:
    """`"10:20"` means the steps 10 to 20."""
    parts = value.split(":") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or len(parts) != 2:
        raise PydanticCustomError("steps", "it should be from:to, as 10:20")
    return parts


def _are_steps(steps: tuple[int, int]) -> tuple[int, int]:
    first, last = steps
    if last < first:
        raise PydanticCustomError("steps", "from:to should not end before it begins")
    if last - first >= MOST_STEPS:
        raise PydanticCustomError(
            "steps", f"a trace of more than {MOST_STEPS} steps is too large to be read; name fewer"
        )
    return steps


_TIME = r"(?=\d)(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?"


def seconds_of(text: str) -> int | None:
    """Of a time such as `1h30m`; None for any other text."""
    parts = re.fullmatch(_TIME, text)
    if not parts:
        return None
    hours, minutes, seconds = (int(part or 0) for part in parts.groups())
    return 3600 * hours + 60 * minutes + seconds


def _as_budget(value: Any) -> Any:
    text = re.sub(r"\s", "", str(value)).lower()
    if text == "auto":
        return text
    seconds = seconds_of(text)
    if seconds is None:
        raise PydanticCustomError("budget", "must be a time with its unit, as 90s, 20m, 1h or 1h30m, or auto")
    if not 0 < seconds <= MOST_BUDGET:
        raise PydanticCustomError("budget", "must be a time above 0 and of at most 100 days (2400h)")
    return text


def _spelt(read: Callable[[Any], str]) -> BeforeValidator:
    """A text in the canonical spelling of `read`, whose ValueError becomes a validation error."""

    def checked(value: Any) -> str:
        try:
            return read(value)
        except ValueError as error:
            raise PydanticCustomError("health", "{problem}", {"problem": str(error)}) from None

    return BeforeValidator(checked)


SPELT = BeforeValidator(_as_name)
HealthAction = Annotated[str, _spelt(actions_text)]
MaskColors = Annotated[str, _spelt(mask_colours_text)]
HealthThresholds = Annotated[str, _spelt(thresholds_text)]
TaskName = Annotated[Literal["auto", "segmentation", "classification"], SPELT]
DataLayout = Annotated[DataFormatName, SPELT]
Resize = Annotated[ResizeRule, SPELT]
PrecisionName = Annotated[Literal["auto", "float32", "bfloat16", "float16"], BeforeValidator(_as_precision)]
AugmentationText = Annotated[str, BeforeValidator(_as_augmentation), AnyText()]
ClassCount = Annotated[int, Field(ge=2, le=10_000), BeforeValidator(_as_class_count)]
IgnoredValue = Annotated[int, Field(ge=0, le=255), BeforeValidator(_as_ignored_value)]
Count = Annotated[int, Field(gt=0, le=MOST)]
CountOrZero = Annotated[int, Field(ge=0, le=MOST)]
Seed = Annotated[int, Field(ge=0, le=MOST_SEED)]
Workers = Annotated[int, Field(ge=0, le=MOST_WORKERS)]
Side = Annotated[int, Field(ge=LEAST_SIDE, le=MOST_SIDE)]
Size = Annotated[tuple[Side, Side], BeforeValidator(_as_size)]
Epochs = Annotated[tuple[Count, ...], BeforeValidator(_as_numbers)]
Steps = Annotated[tuple[Count, Count], BeforeValidator(_as_steps), AfterValidator(_are_steps), Spelling("`from:to`")]
Budget = Annotated[
    str, BeforeValidator(_as_budget), Spelling("`auto`, or a time: `90s`, `20m`, `1h30m`", rf"^\s*(?:auto|{_TIME})\s*$")
]
Units = Annotated[tuple[Annotated[int, Field(gt=0, le=MOST_UNITS)], ...], BeforeValidator(_as_numbers)]
Normalization = Annotated[Literal["auto", "imagenet", "inception", "clip", "dpn", "none"], SPELT]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
ClassWeights = Annotated[
    Literal["none", "balanced", "sqrt", "effective"] | tuple[NonNegativeFloat, ...],
    BeforeValidator(_as_name_or_numbers),
]
FigureName = Annotated[
    Literal[
        "auto",
        "accuracy",
        "f1",
        "precision",
        "recall",
        "dice",
        "miou",
        "pixel_accuracy",
        "map",
        "micro_f1",
        "exact_match",
        "loss",
    ],
    BeforeValidator(_as_figure),
]


def field(default: Any, description: str, *aliases: str) -> Any:
    """A field with its documentation and its other names."""
    return Field(default=default, description=description, json_schema_extra={"aliases": list(aliases)})
