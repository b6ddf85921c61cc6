"""Images listed in a table: a CSV file in the channel, with the image's path and its label or mask."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from byoc_vision.data.formats.base import Inputs, ParsedDataset
from byoc_vision.data.formats.csv_columns import SEVERAL, SPLIT_FLAGS, Columns, find_columns, missing_column, plain_name
from byoc_vision.data.formats.image_mask_pairs import has_inner_masks
from byoc_vision.data.formats.label_parsing import Entry, Labels, labelled_dataset, multi_hot
from byoc_vision.data.formats.lists import (
    ListFile,
    MaskEntry,
    Row,
    by_split,
    check_lists,
    find_lists,
    masked_dataset,
    noting,
    read_rows,
    report_list_problems,
    split_of,
)
from byoc_vision.data.formats.split_lists import splits_of_text_files
from byoc_vision.data.samples import DataOptions
from byoc_vision.errors import DataError, InputError, few, list_problems
from byoc_vision.types import ClassInfo, Task

logger = logging.getLogger(__name__)

_ENDINGS = (".csv", ".tsv")
_MISSING = ("nan", "<na>", "n/a", "#n/a", "null")  # as tables are exported; `none` and `NA` can be classes
_PARTITIONS = {"0": "train", "1": "validation", "2": "test"}  # as CelebA numbers them
_FLAGS = {"1": True, "1.0": True, "true": True, "yes": True, "0": False, "0.0": False, "false": False, "no": False}
_OTHER_SPLIT = {"train": "test", "validation": "train", "test": "train"}
_SAMPLED = 201  # rows, with the header


class CsvLabels:
    """Classification: a column of images and one of labels, or a column of 0 and 1 for each class.

    An image is given by its path below the channel, or by its name, with or without the ending. `find_columns` tells
    which column is which; a table of two columns needs no header. A label is a name, even if it is a number. Several
    labels in a cell are separated by `|`, or by blanks in a column `labels` or `tags` (if there are fewer different
    words than cells, or if multi_label is set; otherwise blanks are part of names).
    A column `split` or the file's name (`train.csv`) gives the split of an image, a column `group` the images that must
    not be divided between splits.
    """

    name = "csv"
    task: Task = "classification"
    title = "images listed in CSV files"
    example = (
        "train/labels.csv                  image,label          or  id,breed     or  image,cat,dog\n"
        "train/1.jpg, images/2.jpg, …      1.jpg,cat                1,beagle         1.jpg,0,1\n"
        "                                  images/2.jpg,dog         2,pug            2.jpg,1,1"
    )

    def matches(self, inputs: Inputs) -> bool:
        if inputs.first.masks is not None or has_inner_masks(inputs.first.images):
            return False
        return any(
            columns.has_targets and columns.mask is None and (columns.chosen or not _has_class_folders(inputs))
            for _, columns in _tables(inputs)
        )

    def read(self, inputs: Inputs, options: DataOptions, classes: Sequence[ClassInfo] = ()) -> ParsedDataset:
        lists = _with_labels(inputs)
        check_lists(list({file.split: file for file, _ in lists}.values()), inputs)
        partitions = _partitions(inputs)
        entries: dict[str, list[Entry]] = defaultdict(list)
        problems: list[str] = []
        names: dict[int, str] = {}
        for file, columns in lists:
            rows = list(_rows(file.path, columns, problems))
            separator = _separator(rows, columns, options)
            flag_values = _flag_values(rows, columns)
            for row in rows:
                with noting(problems, row.place):
                    image = file.images.one(row.cell(columns.image) or "")
                    labels = _labels(row, columns, separator, flag_values)
                    split = _split(row, columns) or partitions.get(image) or file.split_of(image)
                    entries[split].append(Entry(row.place, image, labels, row.cell(columns.group)))
            _warn_of_unlisted(file, entries, partitions)
            names |= {index: columns.names[column] for index, column in enumerate(columns.flags)}
        report_list_problems("rows", [file for file, _ in lists], problems, options)
        return labelled_dataset(_one_hot(by_split(entries, inputs), options), options, classes, names)


class UnclearCsv(CsvLabels):
    """Tables whose columns do not say which one holds the labels: an error that lists them."""

    def matches(self, inputs: Inputs) -> bool:
        if inputs.first.masks is not None or _has_class_folders(inputs):
            return False
        return any(columns.unclear for _, columns in _tables(inputs))

    def read(self, inputs: Inputs, options: DataOptions, classes: Sequence[ClassInfo] = ()) -> ParsedDataset:
        file, columns = next((file, columns) for file, columns in _tables(inputs) if columns.unclear)
        raise InputError(f"{file.path}: {columns.unclear}")


class CsvMasks:
    """Segmentation: a column of images and a column of masks. Otherwise as for classification."""

    name = "csv"
    task: Task = "segmentation"
    title = "images and masks listed in CSV files"
    example = "train/pairs.csv                   image,mask\ntrain/a/1.jpg, b/1.png, …         a/1.jpg,b/1.png"

    def matches(self, inputs: Inputs) -> bool:
        return any(columns.mask is not None for _, columns in _tables(inputs))

    def read(self, inputs: Inputs, options: DataOptions, classes: Sequence[ClassInfo] = ()) -> ParsedDataset:
        lists = [(file, columns) for file, columns in _tables(inputs) if columns.mask is not None]
        check_lists([file for file, _ in lists], inputs)
        entries: dict[str, list[MaskEntry]] = defaultdict(list)
        problems: list[str] = []
        for file, columns in lists:
            for row in _rows(file.path, columns, problems):
                with noting(problems, row.place):
                    image = file.images.one(row.cell(columns.image) or "")
                    mask = file.masks.one(row.cell(columns.mask) or "")
                    split = _split(row, columns) or file.split_of(image)
                    entries[split].append(MaskEntry(row.place, image, mask, row.cell(columns.group)))
        report_list_problems("rows", [file for file, _ in lists], problems, options)
        return masked_dataset(by_split(entries, inputs), options)


_Table = tuple[ListFile, Columns]


def _tables(inputs: Inputs) -> list[_Table]:
    """All tables that list images, with the meaning of their columns. Raises InputError for a column that none has."""
    if "tables" not in inputs.memo:
        found, headers = [], []
        for file in find_lists(inputs, _ENDINGS, channel="csv"):
            first = [row.cells for row in islice(read_rows(file.path), _SAMPLED)]
            headers += [[name.strip() for name in row] for row in first[:1]]
            columns = find_columns(first, file.images, inputs.options) if first else None
            if columns is not None:
                found.append((file, columns))
        _check_chosen(headers, found, inputs)
        inputs.memo["tables"] = found
    tables: list[_Table] = inputs.memo["tables"]
    return tables


def _check_chosen(headers: Sequence[Sequence[str]], found: Sequence[_Table], inputs: Inputs) -> None:
    options = inputs.options
    if headers and not found and options.image_column is not None:
        raise missing_column("image_column", options.image_column, headers)
    if headers and not any(columns.has_targets for _, columns in found) and options.label_column is not None:
        raise missing_column("label_column", options.label_column, headers)


def _with_labels(inputs: Inputs) -> list[_Table]:
    """The tables of images with labels: those whose columns say so by name, otherwise all. Raises InputError."""
    tables = [one for one in _tables(inputs) if one[1].has_targets and one[1].mask is None]
    tables = [one for one in tables if one[1].chosen] or tables
    of_split: dict[str | None, _Table] = {}
    for file, columns in tables:
        other, known = of_split.setdefault(file.split, (file, columns))
        if known.names != columns.names:
            raise InputError(
                f"{other.path} and {file.path} both list labels of {file.split or 'all'} images: "
                f"{_label_names(known)} and {_label_names(columns)}; choose with label_column, or keep one of them"
            )
    return tables


def _label_names(columns: Columns) -> str:
    return few([columns.names[index] for index in columns.flags or (columns.label or 0,)], 3)


def _partitions(inputs: Inputs) -> dict[Path, str]:
    """The split of each image in text files, and in tables that hold only these. Raises DataError."""
    images = (inputs.first.images.path / path for path in inputs.first.images.image_paths())
    splits = splits_of_text_files(inputs, images) if len(inputs.splits) == 1 else {}
    for file, columns in _tables(inputs):
        if columns.split is None or columns.has_targets or columns.unclear:
            continue
        problems: list[str] = []
        for row in _rows(file.path, columns, problems):
            image = file.images.find(row.cell(columns.image) or "")
            with noting(problems, row.place):
                if isinstance(image, Path) and (split := _split(row, columns)) is not None:
                    splits[image] = split
        if problems:
            raise DataError(list_problems(f"rows of {file.path} that cannot be used:", problems))
    return splits


def _warn_of_unlisted(file: ListFile, entries: Mapping[str, Sequence[Entry]], partitions: Mapping[Path, str]) -> None:
    """Log how many training images are in no list of a split, if there are such lists."""
    unlisted = [entry for entry in entries["train"] if entry.image not in partitions] if partitions else []
    if unlisted:
        logger.warning(
            "images of %s that no list of a split names, which are training images: %d, such as %s",
            file.path,
            len(unlisted),
            unlisted[0].image.name,
        )


def _has_class_folders(inputs: Inputs) -> bool:
    return len(inputs.first.images.image_folders) > 1


def _rows(path: Path, columns: Columns, problems: list[str]) -> Iterator[Row]:
    for row in islice(read_rows(path), columns.first, None):
        if len(row.cells) != len(columns.names):
            problems.append(f"{row.place}: there are {len(row.cells)} cells instead of {len(columns.names)}")
            continue
        yield row


def _split(row: Row, columns: Columns) -> str | None:
    text = row.cell(columns.split)
    if text is None:
        return None
    split = split_of(text) or _PARTITIONS.get(text)
    if (flagged := SPLIT_FLAGS.get(plain_name(columns.names[columns.split or 0]))) is not None:
        split = {True: flagged, False: _OTHER_SPLIT[flagged], None: None}[_FLAGS.get(text.lower())]
    if split is None:
        raise ValueError(
            f"{text!r} in the column {columns.names[columns.split or 0]!r} is not train, validation or test"
        )
    return split


def _separator(rows: Sequence[Row], columns: Columns, options: DataOptions) -> str | None:
    """The separator of labels in a cell: `|`, an empty text for blanks, or None if each cell has one label."""
    if columns.label is None or options.multi_label is False:
        return None
    cells = {row.cell(columns.label) or "" for row in rows}
    if any("|" in cell for cell in cells):
        return "|"
    if not any(re.search(r"\s", cell) for cell in cells):
        return None
    if columns.names[columns.label].lower() not in SEVERAL:
        return None
    words = {word for cell in cells for word in cell.split()}
    return "" if options.multi_label or len(words) < len(cells) else None


def _flag_values(rows: Sequence[Row], columns: Columns) -> Mapping[str, str]:
    """What values in columns of flags mean, beside 0 and 1: words; -1 is 0 in a table that has no 0."""
    cells = {row.cells[column].strip() for row in rows for column in columns.flags}
    low = {} if any(cell in ("0", "0.0") for cell in cells) else {"-1": "0", "-1.0": "0"}
    return {"true": "1", "false": "0", **low}


def _labels(row: Row, columns: Columns, separator: str | None, flag_values: Mapping[str, str]) -> Labels:
    if columns.flags:
        cells = [row.cells[column].strip() for column in columns.flags]
        return multi_hot([flag_values.get(cell.lower(), cell) for cell in cells])
    text = row.cell(columns.label)
    if text is None:
        raise ValueError(f"the column {columns.names[columns.label or 0]!r} is empty; add a label or remove the line")
    labels = (text,) if separator is None else tuple(label.strip() for label in text.split(separator or None))
    if missing := [label for label in labels if label.lower() in _MISSING]:
        raise ValueError(
            f"{missing[0]} in the column {columns.names[columns.label or 0]!r} stands for a missing label; "
            "add a label or remove the line"
        )
    return Labels(tuple(label for label in labels if label), many=separator is not None)


def _one_hot(entries: Mapping[str, Sequence[Entry]], options: DataOptions) -> Mapping[str, Sequence[Entry]]:
    """Columns of 0 and 1 with a single 1 in each row are one label, unless multi_label is set."""
    flags = [entry.labels for of in entries.values() for entry in of if entry.labels.width is not None]
    if options.multi_label or not flags or any(len(labels.classes) != 1 for labels in flags):
        return entries
    return {
        split: [replace(entry, labels=replace(entry.labels, many=False)) for entry in of]
        for split, of in entries.items()
    }
