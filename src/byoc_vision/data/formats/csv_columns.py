"""Which column of a table names the images, and which ones hold the labels: by the user, by names, by values."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from byoc_vision.data.decoding import IMAGE_SUFFIXES
from byoc_vision.data.formats.lists import ImageIndex, split_of
from byoc_vision.data.samples import DataOptions
from byoc_vision.errors import InputError, few

# The names of columns, in the order of trial, in lower case and with underscores.
_IMAGE = (
    "image", "image_path", "img_path", "img", "picture", "path", "file", "filename", "file_name", "filepath",
    "filepaths", "file_path", "image_file", "image_filename", "image_name", "image_index", "image_id", "imageid",
    "img_id", "id_code", "id",
)  # fmt: skip
_MASK = ("mask", "masks", "mask_path", "mask_file", "mask_filename", "annotation", "annotation_path", "label_path")
_LABEL = (
    "label", "class", "category", "breed", "target", "species", "diagnosis", "class_name", "category_name",
    "label_name", "class_id", "category_id", "finding_labels", "labels", "tags", "classes",
)  # fmt: skip
SEVERAL = ("labels", "tags", "classes")
_SPLIT = ("split", "data_set", "dataset", "set", "subset", "partition")
# Columns of 0 and 1, and the split of an image with 1; with 0 it is a training image, but `is_train` says test.
SPLIT_FLAGS = {"is_train": "train", "is_training": "train", "is_valid": "validation", "is_val": "validation",
               "is_validation": "validation", "is_test": "test"}  # fmt: skip
_GROUP = ("group", "group_id", "patient", "patient_id")

_FLAGS = frozenset({"0", "1", "-1", "0.0", "1.0", "-1.0", "true", "false"})
_LEAST_FLAGS = 0.5  # of the values of a column of flags: single wrong ones are errors that name their rows
_LEAST_FOUND = 0.5  # of the values of a column that names images
_SAMPLED = 200  # rows that tell what a column holds
_SHOWN = 3  # values of a column, in messages


@dataclass(frozen=True)
class Columns:
    """The meaning of the columns, by index.

    names: of all columns. label: the column of names or numbers; flags: without such a column, one column of 0 and 1
    (or -1 and 1) for each class. first: the index of the first row after the header.
    chosen: the user, or the name of a column, says which one holds the labels.
    unclear: why the table cannot be read without the user's choice; empty if it can.
    """

    names: tuple[str, ...]
    image: int
    label: int | None = None
    flags: tuple[int, ...] = ()
    mask: int | None = None
    split: int | None = None
    group: int | None = None
    first: int = 1
    chosen: bool = True
    unclear: str = ""

    @property
    def has_targets(self) -> bool:
        return self.label is not None or bool(self.flags) or self.mask is not None


def find_columns(rows: Sequence[Sequence[str]], images: ImageIndex, options: DataOptions) -> Columns | None:
    """The meaning of a table's columns; None if the table does not list images.

    Args:
        rows: the first rows of the table, with the header.
        images: in which the table's images are looked up.
        options: `image_column` and `label_column` choose columns by their names.
    """
    header = [name.strip() for name in rows[0]]
    if len(header) == 2 and _is_image_name(header[0]):
        if _is_image_name(header[1]):
            return Columns(("image", "mask"), 0, mask=1, first=0)
        return Columns(("image", "label"), 0, label=1, first=0)
    values = [[row[index].strip() for row in rows[1:] if index < len(row)][:_SAMPLED] for index in range(len(header))]
    image = _image_column(header, values, images, options)
    if image is None:
        return None
    names = tuple(header)
    if options.label_column is not None:
        return _chosen(names, image, values, options.label_column)
    plain = [plain_name(name) for name in header]
    mask, label = _named(plain, _MASK, image), _named(plain, _LABEL, image)
    split, group = _split_column(plain, values, image), _named(plain, _GROUP, image)
    if mask is not None or label is not None:
        return Columns(names, image, label, (), mask, split, group)
    others = [index for index, name in enumerate(header) if name and index not in (image, split, group)]
    flags = tuple(index for index in others if _holds_flags(values[index]))
    if len(flags) > 1 and (len(flags) == len(others) or _are_one_hot(flags, values)):
        return Columns(names, image, None, flags, None, split, group, chosen=False)
    if len(others) == 1:
        return Columns(names, image, others[0], (), None, split, group, chosen=False)
    unclear = _unclear(header, values, others, flags) if others else ""
    return Columns(names, image, None, (), None, split, group, chosen=False, unclear=unclear)


def plain_name(name: str) -> str:
    """A column's name in lower case, with underscores: `Image Index` → `image_index`."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def index_of(header: Sequence[str], name: str) -> int | None:
    """The column with this name, regardless of case and separators if there is none with exactly this one."""
    if name in header:
        return header.index(name)
    plain = [plain_name(other) for other in header]
    return plain.index(plain_name(name)) if plain_name(name) in plain else None


def missing_column(hyperparameter: str, name: str, headers: Sequence[Sequence[str]]) -> InputError:
    """The error for a name that no table has."""
    known = list(dict.fromkeys(column for header in headers for column in header))
    return InputError(f"{hyperparameter}={name}, but no table has this column; the columns are: {few(known, 40)}")


def _is_image_name(text: str) -> bool:
    return PurePath(text).suffix.lower() in IMAGE_SUFFIXES


def _named(plain: Sequence[str], names: Sequence[str], image: int) -> int | None:
    found = (plain.index(name) for name in names if name in plain)
    return next((index for index in found if index != image), None)


def _split_column(plain: Sequence[str], values: Sequence[Sequence[str]], image: int) -> int | None:
    """The column with a usual name, otherwise one that holds nothing but names of splits, or says `is_test`."""
    named = _named(plain, (*_SPLIT, *SPLIT_FLAGS), image)
    if named is not None:
        return named
    of_splits = (index for index, held in enumerate(values) if len(set(held)) > 1 and all(map(split_of, held)))
    return next((index for index in of_splits if index != image), None)


def _image_column(
    header: Sequence[str], values: Sequence[Sequence[str]], images: ImageIndex, options: DataOptions
) -> int | None:
    """The user's column, otherwise the one whose values name images: first by the columns' names, then any."""
    if options.image_column is not None:
        return index_of(header, options.image_column)
    plain = [plain_name(name) for name in header]
    named = [plain.index(name) for name in _IMAGE if name in plain]
    ordered = [*named, *(index for index in range(len(header)) if index not in named)]
    found = next((index for index in ordered if _names_images(values[index], images)), None)
    return found if found is not None else next(iter(named), None)


def _names_images(values: Sequence[str], images: ImageIndex) -> bool:
    given = [value for value in values if value]
    return bool(given) and sum(not isinstance(images.find(value), str) for value in given) >= _LEAST_FOUND * len(given)


def _chosen(names: tuple[str, ...], image: int, values: Sequence[Sequence[str]], wanted: str) -> Columns | None:
    """The columns that the user chose: one of labels (or of masks), or several of flags, with commas between them."""
    plain = [plain_name(name) for name in names]
    split, group = _split_column(plain, values, image), _named(plain, _GROUP, image)
    one = index_of(names, wanted)
    if one is not None and any(_is_image_name(value) for value in values[one]):
        return Columns(names, image, None, (), one, split, group)
    if one is not None:
        return Columns(names, image, one, (), None, split, group)
    several = [index_of(names, part.strip()) for part in wanted.split(",")]
    if len(several) < 2 or any(index is None for index in several):
        return None
    return Columns(names, image, None, tuple(index for index in several if index is not None), None, split, group)


def _holds_flags(values: Sequence[str]) -> bool:
    return bool(values) and sum(value.lower() in _FLAGS for value in values) >= _LEAST_FLAGS * len(values)


def _are_one_hot(flags: Sequence[int], values: Sequence[Sequence[str]]) -> bool:
    """Whether each row has a 1 in exactly one of the columns, and each column somewhere has one."""
    raised = [[value.lower() in ("1", "1.0", "true") for value in values[index]] for index in flags]
    return all(sum(row) == 1 for row in zip(*raised, strict=False)) and all(map(any, raised))


def _unclear(
    header: Sequence[str], values: Sequence[Sequence[str]], others: Sequence[int], flags: Sequence[int]
) -> str:
    """What is unclear, with the columns that could hold the labels: those with more than one value."""
    varied = [index for index in others if len(set(values[index])) > 1]
    shown = [f"{header[index]} ({_examples(values[index])})" for index in (varied or others)[:20]]
    choice = f"label_column={header[(varied or others)[0]]}"
    if len(flags) > 1:
        choice += f", or several columns of 0 and 1, such as label_column={header[flags[0]]},{header[flags[1]]}"
    return f"which column holds the labels is not clear: {', '.join(shown)}; choose with label_column, as {choice}"


def _examples(values: Sequence[str]) -> str:
    return few([value or "empty" for value, _ in Counter(values).most_common(_SHOWN + 1)], _SHOWN)
