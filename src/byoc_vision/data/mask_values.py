"""From the pixel values seen in masks to the classes of a segmentation."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from byoc_vision.data.samples import DataClass, DataOptions, PictureFile
from byoc_vision.errors import DataError, InputError, list_problems

logger = logging.getLogger(__name__)

USUAL_IGNORE_VALUE = 255
MOST_CLASSES = 254
# Label masks of that many values are hardly drawn by hand: JPEG artefacts and soft edges are likelier.
MOST_INFERRED_CLASSES = 64


class MaskValues:
    """Which values each mask holds. Masks are many and sets of values few, so the sets are shared."""

    def __init__(self) -> None:
        self._masks: dict[str, list[tuple[PictureFile, tuple[int, ...]]]] = {}
        self._sets: dict[tuple[int, ...], tuple[int, ...]] = {}

    def add(self, split: str, mask: PictureFile, values: tuple[int, ...]) -> None:
        self._masks.setdefault(split, []).append((mask, self._sets.setdefault(values, values)))

    def of(self, *splits: str) -> list[int]:
        """All values of these splits, or of all, sorted."""
        return sorted({value for _, values in self.masks(*splits) for value in values})

    def masks(self, *splits: str) -> list[tuple[PictureFile, tuple[int, ...]]]:
        return [entry for split in (splits or self._masks) for entry in self._masks.get(split, [])]

    @property
    def combinations(self) -> list[tuple[int, ...]]:
        """The different sets of values that occur."""
        return list(self._sets)


def infer_classes(values: MaskValues, options: DataOptions) -> tuple[tuple[DataClass, ...], int | None]:
    """The classes, by ascending pixel value, and the value that is not counted, or None.

    Without `num_classes` every value in the training masks is a class. With it the classes are
    0 … num_classes-1, but {0, 255} may stand for two. `ignore_index` is never a class; where it is not given,
    255 is ignored unless it is one of just two values.
    Raises DataError that names the masks with other values.
    """
    if options.num_classes is not None and not 2 <= options.num_classes <= MOST_CLASSES:
        raise InputError(f"num_classes is {options.num_classes}; 8-bit masks tell 2 to {MOST_CLASSES} classes apart")
    ignore_value = _ignore_value(values, options)
    found = [value for value in values.of("train") if value != ignore_value]
    _refuse_one_value(found, values, ignore_value)
    class_values = found if options.num_classes is None else _declared(found, options.num_classes, ignore_value)
    if options.num_classes is None:
        _refuse_noise(found, values)
        _refuse_two_foregrounds(found, values, ignore_value)
    _refuse_others(values, class_values, ignore_value, options)
    _warn_of_unseen(class_values, found)
    return tuple(DataClass(_name(value, class_values), value) for value in class_values), ignore_value


def check_classes(values: MaskValues, classes: Sequence[DataClass], ignore_value: int | None) -> None:
    """Whether the masks hold the values of `classes` and `ignore_value` alone. Raises DataError that names others."""
    allowed = [entry.value for entry in classes if entry.value is not None]
    offenders = _offenders(values, {*allowed, ignore_value})
    if offenders:
        headline = (
            f"masks hold values that are none of the classes ({', '.join(map(str, allowed))}"
            f"{'' if ignore_value is None else f', ignored is {ignore_value}'}); mend the masks, or name one value to "
            "ignore with ignore_index:"
        )
        raise DataError(list_problems(headline, offenders))
    _warn_of_unseen(allowed, values.of("train"))


def _ignore_value(values: MaskValues, options: DataOptions) -> int | None:
    if options.ignore_index is not None:
        return options.ignore_index
    others = [value for value in values.of("train") if value != USUAL_IGNORE_VALUE]
    is_class = len(others) < 2 and (options.num_classes or 2) == 2
    return None if is_class else USUAL_IGNORE_VALUE


def _declared(found: list[int], count: int, ignore_value: int | None) -> list[int]:
    if count == 2 and found == [0, USUAL_IGNORE_VALUE]:
        return found
    return [value for value in range(count) if value != ignore_value]


def _name(value: int, class_values: list[int]) -> str:
    if len(class_values) == 2 and class_values[0] == 0:
        return "foreground" if value else "background"
    return f"class_{value}"


def _refuse_one_value(found: list[int], values: MaskValues, ignore_value: int | None) -> None:
    if len(found) > 1:
        return
    seen = f"only the value {found[0]}" if found else "no class"
    ignored = f" beside the ignored {ignore_value}" if ignore_value in values.of("train") else ""
    raise DataError(
        f"all {len(values.masks('train'))} training masks hold {seen}{ignored}, such as {values.masks('train')[0][0]}; "
        "a mask needs a value for each class, 0 for the background"
    )


def _refuse_noise(found: list[int], values: MaskValues) -> None:
    if len(found) <= MOST_INFERRED_CLASSES:
        return
    mask, most = max(values.masks("train"), key=lambda entry: len(entry[1]))
    raise DataError(
        f"the training masks hold {len(found)} different values ({mask} alone {len(most)}): they look JPEG-compressed "
        "or drawn with soft edges. Save them as PNG with hard edges, one value a class; if there really are that "
        "many classes, say so with num_classes"
    )


def _refuse_two_foregrounds(found: list[int], values: MaskValues, ignore_value: int | None) -> None:
    """Some masks with 0 and 1, others with 0 and 255: 1-bit files among 8-bit ones, not pixels to ignore."""
    if ignore_value != USUAL_IGNORE_VALUE or found != [0, 1] or USUAL_IGNORE_VALUE not in values.of():
        return
    if any(1 in combination and USUAL_IGNORE_VALUE in combination for combination in values.combinations):
        return
    ones = next(mask for mask, held in values.masks() if 1 in held)
    others = next(mask for mask, held in values.masks() if USUAL_IGNORE_VALUE in held)
    raise DataError(
        f"some masks mark the foreground with 1, such as {ones}, and others with 255, such as {others}; save all the "
        "same way (1-bit files store 0 and 1). If 255 means pixels to ignore, say so with num_classes=2"
    )


def _refuse_others(values: MaskValues, class_values: list[int], ignore_value: int | None, options: DataOptions) -> None:
    offenders = _offenders(values, {*class_values, ignore_value})
    if not offenders:
        return
    if options.num_classes is None:
        headline = (
            "masks for validation or test hold values that no training mask has "
            f"({', '.join(map(str, class_values))}); add training pictures of them, "
            "or name one value to ignore with ignore_index:"
        )
    else:
        headline = (
            f"masks hold values outside 0–{options.num_classes - 1} (num_classes is {options.num_classes}"
            f"{'' if ignore_value is None else f', ignored is {ignore_value}'}); mend num_classes or the masks, "
            "or name one value to ignore with ignore_index:"
        )
    raise DataError(list_problems(headline, offenders))


def _offenders(values: MaskValues, allowed: set[int | None]) -> list[str]:
    return [
        f"{mask}: {', '.join(map(str, strange[:6]))}{', …' if len(strange) > 6 else ''}"
        for mask, held in values.masks()
        if (strange := [value for value in held if value not in allowed])
    ]


def _warn_of_unseen(class_values: Sequence[int], found: Sequence[int]) -> None:
    if unseen := sorted(set(class_values) - set(found)):
        logger.warning("no training mask holds the classes %s", ", ".join(map(str, unseen)))
