"""The classes of a data set, and what happens to samples and masks that do not fit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from byoc_vision.colours import to_hex
from byoc_vision.data.preflight.scan import IS_COLOUR, MaskValues, ScanResult
from byoc_vision.data.samples import DataOptions, Dataset, MaskSource, Sample
from byoc_vision.errors import DataError, InputError, few, list_problems
from byoc_vision.preprocess import IGNORED
from byoc_vision.types import ClassInfo

MOST_CLASSES = 254
_MOST_USUAL_NUMBER = 33  # of a class: Cityscapes'
# With more values than this, JPEG artefacts or soft edges are more likely than hand-drawn labels.
MOST_INFERRED_CLASSES = 64


def infer_classes(values: MaskValues, options: DataOptions) -> tuple[tuple[ClassInfo, ...], int | None]:
    """The classes, by ascending pixel value, and the ignored value, or None.

    Without `num_classes` every value in the training masks is a class. With it the classes are 0 … num_classes-1;
    so many other values with 255 among them, such as {0, 255} or {0, 128, 255}, are classes, too. `ignore_index` is
    never a class; if it is not given, 255 is ignored beside numbers of classes (0, 1, 2, …), and a class beside a
    single other value or grey levels (0, 128). Masks may still hold other values: see `find_unknown_values`.

    Raises:
        DataError: the values cannot be classes.
        InputError: `num_classes` is impossible.
    """
    if options.num_classes is not None and not 2 <= options.num_classes <= MOST_CLASSES:
        raise InputError(f"num_classes is {options.num_classes}; 8-bit masks can have 2 to {MOST_CLASSES} classes")
    ignore_value = _ignore_value(values, options)
    found = [value for value in values.of("train") if value != ignore_value]
    _check_several_values(found, values, ignore_value)
    class_values = found if options.num_classes is None else _declared(found, options.num_classes, ignore_value)
    if len(class_values) < 2:
        raise InputError(
            f"num_classes is {options.num_classes} and ignore_index is {ignore_value}, which leaves a single class; "
            "num_classes includes the ignored value if that is smaller than num_classes"
        )
    if options.num_classes is None:
        _check_noise(found, values)
        _check_one_foreground(found, values, ignore_value)
    return tuple(ClassInfo(_name(value, class_values), value) for value in class_values), ignore_value


class UnknownValues(NamedTuple):
    """A mask with values that are neither a class nor ignored: those values."""

    mask: MaskSource
    values: tuple[int, ...]

    def __str__(self) -> str:
        shown = [to_hex(value & ~IS_COLOUR) if value >= IS_COLOUR else str(value) for value in self.values]
        return f"{self.mask}: {few(shown, 6)}"


def find_unknown_values(
    values: MaskValues, classes: Sequence[ClassInfo], ignore_value: int | None
) -> list[UnknownValues]:
    """The masks of all splits that hold values which are neither a class nor ignored."""
    allowed = {ignore_value, *(entry.value for entry in classes)}
    return [
        UnknownValues(mask, unknown)
        for mask, held in values.masks()
        if (unknown := tuple(value for value in held if value not in allowed))
    ]


def unknown_values_headline(
    classes: Sequence[ClassInfo], ignore_value: int | None, options: DataOptions, *, inferred: bool
) -> str:
    """What is wrong with unknown values, and the remedies. inferred: the classes come from the training masks."""
    known = ", ".join(str(entry.value) for entry in classes)
    ignored = "" if ignore_value is None else f", ignored is {ignore_value}"
    if not inferred:
        text = f"masks hold values that are not classes ({known}{ignored}); fix the masks"
    elif options.num_classes is None:
        text = (
            f"masks for validation or test hold values that no training mask has ({known}); add training images of them"
        )
    else:
        text = (
            f"masks hold values outside 0–{options.num_classes - 1} (num_classes is {options.num_classes}{ignored}); "
            "fix num_classes or the masks"
        )
    return f"{text}, name one value to ignore with ignore_index, or leave these samples out with on_bad_sample=skip:"


def _ignore_value(values: MaskValues, options: DataOptions) -> int | None:
    if options.ignore_index is not None:
        return options.ignore_index
    others = [value for value in values.of("train") if value != IGNORED]
    if len(others) < 2:
        return None if (options.num_classes or 2) == 2 else IGNORED
    if IGNORED not in values.of() or _are_numbers_of_classes(others):
        return IGNORED
    return None if options.num_classes in (None, len(others) + 1) else IGNORED


def _are_numbers_of_classes(values: list[int]) -> bool:
    """Whether values count from 0 or 1, such as 0, 1, 2, with a few gaps; 0, 128 are grey levels."""
    is_dense = 1 in values or max(values) < 2 * len(values)
    return is_dense or (max(values) <= _MOST_USUAL_NUMBER and math.gcd(*values) == 1)


def _declared(found: list[int], count: int, ignore_value: int | None) -> list[int]:
    if len(found) == count and IGNORED in found:
        return found
    return [value for value in range(count) if value != ignore_value]


def _name(value: int, class_values: list[int]) -> str:
    if len(class_values) == 2 and class_values[0] == 0:
        return "foreground" if value else "background"
    return f"class_{value}"


def _check_several_values(found: list[int], values: MaskValues, ignore_value: int | None) -> None:
    if len(found) > 1:
        return
    seen = f"only the value {found[0]}" if found else "no class"
    ignored = f" beside the ignored {ignore_value}" if ignore_value in values.of("train") else ""
    raise DataError(
        f"all {len(values.masks('train'))} training masks hold {seen}{ignored}, such as {values.masks('train')[0][0]}; "
        "a mask needs a value for each class, 0 for the background"
    )


def _check_noise(found: list[int], values: MaskValues) -> None:
    if len(found) <= MOST_INFERRED_CLASSES:
        return
    mask, most = max(values.masks("train"), key=lambda entry: len(entry[1]))
    raise DataError(
        f"the training masks hold {len(found)} different values ({mask} alone {len(most)}): they look JPEG-compressed "
        "or drawn with soft edges. Save them as PNG with hard edges, one value a class; if there really are that "
        "many classes, set num_classes"
    )


def _check_one_foreground(found: list[int], values: MaskValues, ignore_value: int | None) -> None:
    """Some masks with 0 and 1, others with 0 and 255, are 1-bit files among 8-bit ones: 255 is not to be ignored."""
    if ignore_value != IGNORED or found != [0, 1] or IGNORED not in values.of():
        return
    check_one_foreground(values, "num_classes=2")


def check_one_foreground(values: MaskValues, remedy: str) -> None:
    """Raises DataError if masks of 0, 1 and 255 never hold 1 and 255 together. remedy: the setting that ignores 255."""
    if any(1 in combination and IGNORED in combination for combination in values.combinations):
        return
    ones = next(mask for mask, held in values.masks() if 1 in held)
    others = next(mask for mask, held in values.masks() if IGNORED in held)
    raise DataError(
        f"some masks mark the foreground with 1, such as {ones}, and others with 255, such as {others}; save all the "
        f"same way (1-bit files store 0 and 1). If 255 means pixels to ignore, set {remedy}"
    )


_SHOWN_NAMES = 10


def check_class_count(dataset: Dataset, options: DataOptions) -> None:
    """Raises InputError if `num_classes` differs from the number of classes that the data name.

    For segmentation it may include the ignored value, as in the built-in algorithm.
    """
    declared, found = options.num_classes, len(dataset.classes)
    if declared is None or not found or declared == found:
        return
    if dataset.task == "segmentation" and dataset.ignore_value is not None and declared == found + 1:
        return
    raise InputError(
        f"num_classes is {declared}, but the data have {found} classes ({few(dataset.class_names, _SHOWN_NAMES)}); "
        "leave num_classes out, or fix the data"
    )


def resolve_classes(dataset: Dataset, seen: ScanResult, options: DataOptions) -> tuple[Dataset, list[str]]:
    """The dataset with the classes that the data format names, else with those found in the masks; and errors.

    Masks with unknown values become invalid samples if these are left out; otherwise an error names them.
    """
    values = seen.mask_values()
    if dataset.task != "segmentation" or not values.masks("train"):
        return dataset, []
    found = dataset
    if not dataset.classes:
        if dataset.ignore_value is not None:  # the data format knows it for certain
            options = replace(options, ignore_index=dataset.ignore_value)
        try:
            classes, ignore_value = infer_classes(values, options)
        except DataError as error:
            return dataset, [str(error)]
        found = replace(dataset, classes=classes, ignore_value=ignore_value)
    unknown_values = find_unknown_values(values, found.classes, found.ignore_value)
    if not unknown_values:
        return found, []
    if options.skips:
        seen.mark_invalid({one.mask: f"{one}: no class has these values" for one in unknown_values})
        return found, []
    headline = unknown_values_headline(found.classes, found.ignore_value, options, inferred=not dataset.classes)
    return found, [list_problems(headline, map(str, unknown_values))]


def invalid_errors(seen: ScanResult) -> list[str]:
    """One message that names every invalid sample, or none."""
    invalid = seen.all_invalid
    if not invalid:
        return []
    headline = (
        f"{len(invalid)} of {len(invalid) + len(seen.all_stats)} samples cannot be used; fix them, or leave them out "
        "with on_bad_sample=skip:"
    )
    return [list_problems(headline, [bad.problem for bad in invalid])]


def drop_samples(dataset: Dataset, bad: set[Sample]) -> Dataset:
    """The dataset without the samples in `bad`."""
    return dataset.with_samples(lambda samples: [one for one in samples if one not in bad]) if bad else dataset


def skip_errors(before: Dataset, after: Dataset, seen: ScanResult, drawn: Mapping[str, Sequence[Sample]]) -> list[str]:
    """Errors if so many samples are invalid that to skip them would hide a larger mistake.

    drawn: by split, the random samples that represent all. Empty files were found among all samples.
    """
    errors = []
    for split, samples in drawn.items():
        chosen = set(samples)
        invalid = [bad for bad in seen.invalid[split] if bad.sample in chosen]
        if 2 * len(invalid) > len(samples) or split not in after.splits:
            headline = (
                f"{len(invalid)} of {len(samples)} {split} samples cannot be used, too many to leave out "
                "(on_bad_sample=skip):"
            )
            errors.append(list_problems(headline, [bad.problem for bad in invalid]))
    kept = {label for sample in after.train for label in sample.class_indices}
    gone = {label for sample in before.train for label in sample.class_indices} - kept
    if gone and not errors:
        names = [before.classes[label].name for label in sorted(gone)]
        problems = [bad.problem for bad in seen.invalid["train"] if gone & set(bad.sample.class_indices)]
        headline = (
            f"without its invalid samples no training image is left of {few(names, _SHOWN_NAMES)}; fix them or remove "
            "the class:"
        )
        errors.append(list_problems(headline, problems))
    return errors
