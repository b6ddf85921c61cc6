"""Images listed in a table: a CSV file in the channel, with the image's path and its label or mask."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from byoc_vision.data.decoding import IMAGE_SUFFIXES
from byoc_vision.data.formats.base import Inputs, ParsedDataset
from byoc_vision.data.formats.image_mask_pairs import has_inner_masks
from byoc_vision.data.formats.label_parsing import Entry, Labels, labelled_dataset, multi_hot
from byoc_vision.data.formats.lists import (
    ListFile,
    MaskEntry,
    by_split,
    check_lists,
    find_lists,
    masked_dataset,
    read_text,
    report_problems,
    split_of,
)
from byoc_vision.data.samples import DataOptions
from byoc_vision.errors import DataError
from byoc_vision.types import ClassInfo, Task

_ENDINGS = (".csv", ".tsv")
_DELIMITERS = ",;\t|"

# The names of columns, in the order of trial, in lower case and with underscores.
_IMAGE = (
    "image", "image_path", "img_path", "img", "picture", "path", "file", "filename", "file_name", "filepath",
    "filepaths", "file_path", "image_file", "image_filename", "image_name", "image_id", "img_id", "id_code", "id",
)  # fmt: skip
_MASK = ("mask", "masks", "mask_path", "mask_file", "mask_filename", "annotation", "annotation_path", "label_path")
_LABEL = (
    "label", "class", "category", "breed", "target", "species", "diagnosis", "class_name", "category_name",
    "label_name", "class_id", "category_id", "labels", "tags", "classes",
)  # fmt: skip
_SEVERAL = ("labels", "tags", "classes")
_MISSING = ("nan", "<na>", "n/a", "#n/a", "null")  # as tables are exported; `none` and `NA` can be classes
_SPLIT = ("split", "data_set", "dataset", "set", "subset")
_GROUP = ("group", "group_id", "patient", "patient_id")


@dataclass(frozen=True)
class Columns:
    """The meaning of the columns, by index.

    names: of all columns. label: the column of names or numbers; flags: without such a column, one column of 0 and 1
    for each class. first: the index of the first row after the header.
    """

    names: tuple[str, ...]
    image: int
    label: int | None = None
    flags: tuple[int, ...] = ()
    mask: int | None = None
    split: int | None = None
    group: int | None = None
    first: int = 1


@dataclass(frozen=True)
class _Row:
    place: str
    cells: list[str]

    def cell(self, column: int | None) -> str | None:
        """The text of a cell; None if there is no such column or the cell is empty."""
        return (self.cells[column].strip() or None) if column is not None else None


class CsvLabels:
    """Classification: a column of images and one of labels, or a column of 0 and 1 for each class.

    An image is given by its path below the channel, or by its name, with or without the ending. Columns are identified
    by their names; a table of two columns needs no header. A label is a name, even if it is a number. Several labels
    in a cell are separated by `|`, or by blanks in a column `labels` or `tags` (if there are fewer different words than
    cells, or if multi_label is set; otherwise blanks are part of names).
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
            columns.mask is None and (columns.label is not None or not _has_class_folders(inputs))
            for _, columns in _lists(inputs)
        )

    def read(self, inputs: Inputs, options: DataOptions, classes: Sequence[ClassInfo] = ()) -> ParsedDataset:
        lists = [(file, columns) for file, columns in _lists(inputs) if columns.mask is None]
        check_lists([file for file, _ in lists], inputs)
        entries: dict[str, list[Entry]] = {split: [] for split in ("train", "validation", "test")}
        names: dict[int, str] = {}
        for file, columns in lists:
            problems: list[str] = []
            rows = list(_rows(file.path, columns, problems))
            separator = _separator(rows, columns, options)
            for row in rows:
                try:
                    image = _image(file, row, columns)
                    labels = _labels(row, columns, separator)
                    split = _split(row, columns) or file.split_of(image)
                except ValueError as error:
                    problems.append(f"{row.place}: {error}")
                    continue
                entries[split].append(Entry(row.place, image, labels, row.cell(columns.group)))
            report_problems(f"rows of {file.path} that cannot be used:", problems, options)
            names |= {index: columns.names[column] for index, column in enumerate(columns.flags)}
        return labelled_dataset(_one_hot(by_split(entries, inputs), options), options, classes, names)


class CsvMasks:
    """Segmentation: a column of images and a column of masks. Otherwise as for classification."""

    name = "csv"
    task: Task = "segmentation"
    title = "images and masks listed in CSV files"
    example = "train/pairs.csv                   image,mask\ntrain/a/1.jpg, b/1.png, …         a/1.jpg,b/1.png"

    def matches(self, inputs: Inputs) -> bool:
        return any(columns.mask is not None for _, columns in _lists(inputs))

    def read(self, inputs: Inputs, options: DataOptions, classes: Sequence[ClassInfo] = ()) -> ParsedDataset:
        lists = [(file, columns) for file, columns in _lists(inputs) if columns.mask is not None]
        check_lists([file for file, _ in lists], inputs)
        entries: dict[str, list[MaskEntry]] = {split: [] for split in ("train", "validation", "test")}
        for file, columns in lists:
            problems: list[str] = []
            for row in _rows(file.path, columns, problems):
                try:
                    image = _image(file, row, columns)
                    mask = file.masks.find(row.cell(columns.mask) or "")
                    if isinstance(mask, str):
                        raise ValueError(mask)
                    split = _split(row, columns) or file.split_of(image)
                except ValueError as error:
                    problems.append(f"{row.place}: {error}")
                    continue
                entries[split].append(MaskEntry(row.place, image, mask, row.cell(columns.group)))
            report_problems(f"rows of {file.path} that cannot be used:", problems, options)
        return masked_dataset(by_split(entries, inputs), options)


def _is_image(text: str) -> bool:
    return Path(text.strip()).suffix.lower() in IMAGE_SUFFIXES


def find_columns(first: Sequence[str]) -> Columns | None:
    """The meaning of a table's columns, by its first row; None if it does not list images with their targets."""
    if len(first) == 2 and _is_image(first[0]):
        if _is_image(first[1]):
            return Columns(("image", "mask"), 0, mask=1, first=0)
        return Columns(("image", "label"), 0, label=1, first=0)
    plain = [re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") for name in first]

    def column(names: Sequence[str]) -> int | None:
        return next((plain.index(name) for name in names if name in plain), None)

    image, mask, label, split, group = map(column, (_IMAGE, _MASK, _LABEL, _SPLIT, _GROUP))
    if image is None:
        return None
    others = tuple(index for index in range(len(first)) if index not in (image, mask, split, group))
    if mask is None and label is None and len(others) == 1:
        label = others[0]
    flags = others if mask is None and label is None else ()
    if mask is None and label is None and not flags:
        return None
    return Columns(tuple(name.strip() for name in first), image, label, flags, mask, split, group)


def _lists(inputs: Inputs) -> list[tuple[ListFile, Columns]]:
    """The tables that list images with their targets."""
    found = []
    for file in find_lists(inputs, _ENDINGS, channel="csv"):
        first = next(_table(file.path), None)
        columns = find_columns(first.cells) if first else None
        if columns is not None:
            found.append((file, columns))
    return found


def _has_class_folders(inputs: Inputs) -> bool:
    return sum(folder.has_images for folder in inputs.first.images.folders) > 1


def _table(path: Path) -> Iterator[_Row]:
    """The rows that are not blank. Raises DataError."""
    text = read_text(path)
    head = text.lstrip().split("\n", 1)[0]
    delimiter = max(_DELIMITERS, key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield _Row(f"{path}, line {reader.line_num}", cells)
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not a CSV file ({error}); save the table again") from error


def _rows(path: Path, columns: Columns, problems: list[str]) -> Iterator[_Row]:
    for index, row in enumerate(_table(path)):
        if index < columns.first:
            continue
        if len(row.cells) != len(columns.names):
            problems.append(f"{row.place}: there are {len(row.cells)} cells instead of {len(columns.names)}")
            continue
        yield row


def _image(file: ListFile, row: _Row, columns: Columns) -> Path:
    found = file.images.find(row.cell(columns.image) or "")
    if isinstance(found, str):
        raise ValueError(found)
    return found


def _split(row: _Row, columns: Columns) -> str | None:
    text = row.cell(columns.split)
    if text is None:
        return None
    split = split_of(text)
    if split is None:
        raise ValueError(
            f"{text!r} in the column {columns.names[columns.split or 0]!r} is not train, validation or test"
        )
    return split


def _separator(rows: Sequence[_Row], columns: Columns, options: DataOptions) -> str | None:
    """The separator of labels in a cell: `|`, an empty text for blanks, or None if each cell has one label."""
    if columns.label is None or options.multi_label is False:
        return None
    cells = {row.cell(columns.label) or "" for row in rows}
    if any("|" in cell for cell in cells):
        return "|"
    if not any(re.search(r"\s", cell) for cell in cells):
        return None
    if columns.names[columns.label].lower() not in _SEVERAL:
        return None
    words = {word for cell in cells for word in cell.split()}
    return "" if options.multi_label or len(words) < len(cells) else None


def _labels(row: _Row, columns: Columns, separator: str | None) -> Labels:
    if columns.flags:
        try:
            return multi_hot([row.cells[column].strip() for column in columns.flags])
        except ValueError as error:
            raise ValueError(f"the label {error}") from error
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
        split: [
            Entry(entry.where, entry.image, Labels(entry.labels.classes, width=entry.labels.width), entry.group)
            for entry in of
        ]
        for split, of in entries.items()
    }
