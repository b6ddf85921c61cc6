"""From the labels that lists give, numbers or names, to classes."""

from __future__ import annotations

import json
import logging
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from byoc_vision.data.formats.base import ParsedDataset
from byoc_vision.data.formats.lists import check_repeated
from byoc_vision.data.formats.scan import natural_key
from byoc_vision.data.samples import DataOptions, ImageSource, Sample
from byoc_vision.errors import DataError, few, list_problems
from byoc_vision.types import ClassInfo

logger = logging.getLogger(__name__)


MOST_CLASSES = 10_000
_DECIMALS = re.compile(r"[-+]?[0-9]*\.0*[1-9][0-9]*")
_MOST_DECIMALS = 5  # classes such as 1.5 and 3.5

Label = int | str


@dataclass(frozen=True)
class Labels:
    """The classes of an image, as numbers from 0 or as names.

    many: the image may have any number of classes. width: the number of all classes, if the labels show it.
    """

    classes: tuple[Label, ...]
    many: bool = False
    width: int | None = None


@dataclass(frozen=True)
class Entry:
    """An image and its labels. where: their place in messages, such as a file and a line."""

    where: str
    image: ImageSource
    labels: Labels
    group: str | None = None


def class_number(value: object) -> int:
    """A label as the number of a class. Raises ValueError."""
    try:
        number = float(str(value)) if _is_number(value) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not number.is_integer() or not 0 <= number < MOST_CLASSES:
        raise ValueError(f"the label {_shown(value)} is not the number of a class, 0 to {MOST_CLASSES - 1}")
    return int(number)


def multi_hot(values: Sequence[object]) -> Labels:
    """A vector with a 0 or a 1 for each class. Raises ValueError."""
    flags = [class_number(value) for value in values]
    if wrong := [value for value, flag in zip(values, flags, strict=True) if flag > 1]:
        raise ValueError(
            f"the label {_shown(wrong[0])} is in a list of labels, where each must be 0 or 1, one for each class"
        )
    return Labels(tuple(index for index, flag in enumerate(flags) if flag), many=True, width=len(flags))


def parse_label(value: object) -> Labels:
    """A label of an augmented manifest: 3, "3", "cat", [0, 1, 1] or ["cat", "dog"], or any of these as text.

    A list of numbers is read as the numbers of its classes; `as_multi_hot` detects vectors of 0 and 1.
    Raises ValueError.
    """
    if isinstance(value, str):
        value = _unquoted(value)
    if isinstance(value, list):
        if all(isinstance(item, str) and not _is_number(item) for item in value) and value:
            return Labels(tuple(value), many=True)
        return Labels(tuple(class_number(item) for item in value), many=True)
    if isinstance(value, str) and not _is_number(value):
        if not value.strip():
            raise ValueError("the label is empty")
        return Labels((value.strip(),))
    return Labels((class_number(value),))


def as_multi_hot(entries: Mapping[str, list[Entry]], num_classes: int | None) -> dict[str, list[Entry]]:
    """Read lists of numbers as vectors of 0 and 1, if all have the same length, at least two, and no other values."""
    lists = [entry.labels.classes for entry in chain(*entries.values()) if entry.labels.many]
    lengths = {len(classes) for classes in lists}
    width = next(iter(lengths), 0)
    alike = len(lengths) == 1 and width > 1 and num_classes in (None, width)
    if not alike or not all(label in (0, 1) for classes in lists for label in classes):
        return dict(entries)
    return {
        split: [replace(entry, labels=multi_hot(entry.labels.classes)) if entry.labels.many else entry for entry in of]
        for split, of in entries.items()
    }


def _check_not_measured(entries: Sequence[Entry]) -> None:
    """Raises DataError if the labels are measured numbers: many different ones with decimals."""
    different = {label for entry in entries for label in entry.labels.classes if isinstance(label, str)}
    measured = sorted(label for label in different if _DECIMALS.fullmatch(label))
    if len(measured) > _MOST_DECIMALS and 2 * len(measured) >= len(different):
        raise DataError(
            f"{entries[0].where}: the labels are measured numbers, such as {', '.join(measured[:3])} ({len(different)} "
            "different ones), not classes. Choose another column with label_column, or save ranges as classes"
        )


def labelled_dataset(
    entries: Mapping[str, Sequence[Entry]],
    options: DataOptions,
    classes: Sequence[ClassInfo],
    names: Mapping[int, str] | None = None,
) -> ParsedDataset:
    """The samples and classes of labelled images.

    A number is the index of its class, whose name is `class_3` unless `names` has one. Named classes are in natural
    order. The training images define the classes: other splits may not have further ones.
    Classes with fewer training images than `min_class_count` are left out, except for multi-label data.

    Args:
        classes: of a model, if the labels must be its indices.
        names: number of a class → its name.

    Raises:
        DataError: names every entry that does not fit.
    """
    everything = list(chain(*entries.values()))
    many = _is_multi_label(everything, options)
    check_repeated(everything)
    _check_not_measured(everything)
    if all(isinstance(label, int) for label in _labels(everything)):
        table = _numbered(entries, options, classes, names or {}, many)
    elif all(isinstance(label, str) for label in _labels(everything)):
        table = _named(entries, classes)
    else:
        raise DataError(_mixed(everything))
    if len(table) < 2:
        only = next(iter(table), "none")
        raise DataError(
            f"{everything[0].where}: all labels belong to one class ({only}); a classifier needs at least two"
        )
    if twice := [name for name, count in Counter(table).items() if count > 1]:
        raise DataError(
            f"several classes have the name {twice[0]!r} ({everything[0].where}, …); give each class another name"
        )
    index = {name: position for position, name in enumerate(table)}
    samples = {
        split: tuple(
            _sample(entry, tuple(_position(label, index) for label in entry.labels.classes), many) for entry in of
        )
        for split, of in entries.items()
        if of
    }
    if many and options.min_class_count is not None:
        logger.warning("min_class_count has no effect on multi-label data: images keep all their labels")
    if classes or many:
        return ParsedDataset(samples, tuple(classes) or tuple(ClassInfo(name) for name in table), multi_label=many)
    return ParsedDataset(*without_small_classes(samples, table, options.min_class_count))


def _sample(entry: Entry, indices: tuple[int, ...], many: bool) -> Sample:
    if many:
        return Sample(entry.image, labels=tuple(sorted(set(indices))), group=entry.group)
    return Sample(entry.image, label=indices[0], group=entry.group)


def _position(label: Label, index: Mapping[str, int]) -> int:
    return label if isinstance(label, int) else index[label]


def _is_multi_label(entries: Sequence[Entry], options: DataOptions) -> bool:
    if options.multi_label is not False:
        return options.multi_label or any(entry.labels.many for entry in entries)
    problems = [
        f"{entry.where}: {len(entry.labels.classes)} labels" for entry in entries if len(entry.labels.classes) != 1
    ]
    if problems:
        headline = (
            "multi_label is False, but these images do not have exactly one label; leave multi_label out or fix them:"
        )
        raise DataError(list_problems(headline, problems))
    return False


def _numbered(
    entries: Mapping[str, Sequence[Entry]],
    options: DataOptions,
    classes: Sequence[ClassInfo],
    names: Mapping[int, str],
    many: bool,
) -> list[str]:
    training = next(iter(entries.values()))
    widths = {entry.labels.width for entry in chain(*entries.values()) if entry.labels.width is not None}
    if len(widths) > 1:
        raise DataError(_different_widths(entries))
    said = len(classes) or options.num_classes or max(widths, default=0)
    seen = {label for label in _labels(training) if isinstance(label, int)}
    count = said or max(seen, default=-1) + 1
    problems = [
        f"{entry.where}: label {label}"
        for entry in chain(*entries.values())
        for label in entry.labels.classes
        if isinstance(label, int) and label >= count
    ]
    if problems:
        limit = (
            "the model has" if classes else "num_classes gives" if options.num_classes else "the training labels give"
        )
        raise DataError(
            list_problems(f"labels count from 0, and {limit} {count} classes; these labels are too large:", problems)
        )
    table = [names.get(number, f"class_{number}") for number in range(count)]
    if not classes:
        _check_gaps(table, seen, said)
        _check_unseen(entries, seen, table, fatal=not (many and said))
    return table


def _check_gaps(table: list[str], seen: set[int], said: int) -> None:
    gaps = [number for number in range(len(table)) if number not in seen]
    if not gaps:
        return
    shown = few(gaps, 10)
    if not said:
        raise DataError(
            f"no training image has a label {shown}, but labels go up to {len(table) - 1}; number the classes "
            f"from 0 without gaps, or set num_classes={len(table)} if these classes just have no images"
        )
    logger.warning("no training image has a label %s", shown)


def _named(entries: Mapping[str, Sequence[Entry]], classes: Sequence[ClassInfo]) -> list[str]:
    training = next(iter(entries.values()))
    if classes:
        table = [entry.name for entry in classes]
    else:
        table = sorted({str(label) for label in _labels(training)}, key=natural_key)
    _check_unseen(entries, set(table), table, fatal=True)
    return table


def _check_unseen(
    entries: Mapping[str, Sequence[Entry]], seen: set[int] | set[str], table: Sequence[str], fatal: bool
) -> None:
    problems = [
        f"{entry.where}: label {label}"
        for entry in chain(*entries.values())
        for label in entry.labels.classes
        if label not in seen
    ]
    if not problems:
        return
    message = list_problems(
        f"there are labels that no training image has (classes: {few(table, 10)}); add training images of them, or "
        "remove these:",
        problems,
    )
    if fatal:
        raise DataError(message)
    logger.warning(message)


def _labels(entries: Iterable[Entry]) -> Iterable[Label]:
    return (label for entry in entries for label in entry.labels.classes)


def _mixed(entries: Sequence[Entry]) -> str:
    number = next(entry for entry in entries if any(isinstance(label, int) for label in entry.labels.classes))
    name = next(entry for entry in entries if any(isinstance(label, str) for label in entry.labels.classes))
    return (
        f"some labels are numbers ({number.where}: {number.labels.classes[0]}), others are names ({name.where}: "
        f"{name.labels.classes[0]}); use only numbers or only names"
    )


def _different_widths(entries: Mapping[str, Sequence[Entry]]) -> str:
    by_width = {entry.labels.width: entry.where for entry in chain(*entries.values()) if entry.labels.width is not None}
    lines = [f"{where}: {width} labels" for width, where in by_width.items()]
    return list_problems("a list of labels has a 0 or a 1 for each class, but they differ in length:", lines)


def _unquoted(text: str) -> object:
    """The JSON value of a text, if it is one: `3`, `"3"` and `[0, 1]`, even if quoted once more."""
    value: object = text
    for _ in range(2):
        if not isinstance(value, str):
            break
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            break
    return value if isinstance(value, str | list) or _is_number(value) else text


def _is_number(value: object) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, int | float):
        return True
    try:
        return isinstance(value, str) and math.isfinite(float(value))
    except ValueError:
        return False


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


_SHOWN = 20


def without_small_classes(
    samples: Mapping[str, Sequence[Sample]], names: Sequence[str], minimum: int | None
) -> tuple[dict[str, tuple[Sample, ...]], tuple[ClassInfo, ...]]:
    """The samples, by split, and the classes with at least `minimum` training images; None: all classes.

    Labels are renumbered from 0. Small classes are left out of every split, and named in the log.
    Raises DataError if fewer than two classes remain.
    """
    counts = Counter(sample.label for sample in samples["train"])
    small = [index for index in range(len(names)) if minimum is not None and counts[index] < minimum]
    kept = [index for index in range(len(names)) if index not in set(small)]
    if not small:
        return {split: tuple(held) for split, held in samples.items()}, tuple(map(ClassInfo, names))
    named = [f"{names[index]} ({counts[index]})" for index in small]
    shown = ", ".join(named[:_SHOWN]) + (f", … and {len(named) - _SHOWN} more" if len(named) > _SHOWN else "")
    if len(kept) < 2:
        raise DataError(
            f"{len(kept)} of {len(names)} classes have at least {minimum} training images (min_class_count); a "
            f"classifier needs two. Lower min_class_count; the others are: {shown}"
        )
    logger.warning("classes with fewer than %d training images (min_class_count) are left out: %s", minimum, shown)
    label_of = {index: label for label, index in enumerate(kept)}
    remaining = {
        split: tuple(replace(sample, label=label_of[sample.label]) for sample in held if sample.label in label_of)
        for split, held in samples.items()
    }
    return remaining, tuple(ClassInfo(names[index]) for index in kept)
