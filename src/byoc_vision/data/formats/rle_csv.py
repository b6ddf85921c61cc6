"""Segmentation: the run-length CSV files of Kaggle's competitions.

A mask is `start length start length …`, where the start counts from 1 down the columns, from the left: Carvana's
`train_masks.csv` (img, rle_mask), Severstal's `train.csv` (ImageId, ClassId, EncodedPixels), Airbus's
`train_ship_segmentations_v2.csv` (ImageId, EncodedPixels). Carvana alone counts along the rows, from the top.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from byoc_vision.data.formats.base import Inputs, ParsedDataset
from byoc_vision.data.formats.carvana import car_of
from byoc_vision.data.formats.drawn import Shapes, drawn_dataset, has_mask_files, report_entries
from byoc_vision.data.formats.lists import ListFile, find_lists, noting, read_rows
from byoc_vision.data.samples import DataOptions
from byoc_vision.data.shapes import starts_and_lengths
from byoc_vision.errors import DataError
from byoc_vision.types import ClassInfo, Task

logger = logging.getLogger(__name__)

_LONGEST = 2**31 - 1  # characters of run lengths
_RLE_COLUMNS = ("encodedpixels", "rle_mask", "rle", "annotation", "segmentation")
_WITH_CLASS = "imageid_classid"
_IMAGE_COLUMNS = ("imageid", "img", "image", "image_id", _WITH_CLASS, "id")
_CLASS_COLUMNS = ("classid", "class", "label", "class_id")
_BY_ROW = "rle_mask"  # Carvana's column, and so its order
_NONE = ("", "-1", "nan")
FOREGROUND = "foreground"


class _Columns(NamedTuple):
    """The places of the columns. by_row: run lengths count along the rows. holds_class: the image's name ends so."""

    image: int
    rle: int
    label: int | None
    by_row: bool
    holds_class: bool


class RunLengthCsv:
    """A CSV with an image and run lengths in each line; an image may have several lines, or none of its pixels marked.

    Severstal's older `ImageId_ClassId` (`1.jpg_3`) is read, too.
    """

    name = "rle_csv"
    task: Task = "segmentation"
    title = "images with run lengths in a CSV"
    example = (
        "train/train.csv               ImageId,ClassId,EncodedPixels   or  ImageId,EncodedPixels   or  img,rle_mask\n"
        "train/images/1.jpg, 2.jpg, …  1.jpg,3,29102 12 29346 24           1.jpg,29102 12              1.jpg,879386 40"
    )

    def matches(self, inputs: Inputs) -> bool:
        return not has_mask_files(inputs) and bool(_files(inputs))

    def read(self, inputs: Inputs, options: DataOptions, classes: Sequence[ClassInfo] = ()) -> ParsedDataset:
        listed: dict[str, list[Shapes]] = defaultdict(list)
        names: set[str] = set()
        problems: list[str] = []
        for file, columns in _files(inputs):
            of_image: dict[Path, list[tuple[str, bytes]]] = defaultdict(list)
            for place, text, name, runs in _lines(file.path, columns):
                with noting(problems, place):
                    shapes = of_image[file.images.one(text)]
                    shapes += [(name, starts_and_lengths(runs, by_row=columns.by_row))] if runs else []
            for image, shapes in of_image.items():
                names |= {name for name, _ in shapes}
                listed[file.split_of(image)].append(_shapes(file.path, image, shapes))
        report_entries("lines of run lengths that cannot be used:", problems, listed, options)
        _warn_of_unlisted(inputs, listed)
        return drawn_dataset(listed, sorted(names, key=_order), options, classes)


def _shapes(path: Path, image: Path, shapes: Sequence[tuple[str, bytes]]) -> Shapes:
    names, outlines = tuple(name for name, _ in shapes), tuple(outline for _, outline in shapes)
    return Shapes(image, path, f"image {image.name}", names, outlines, group=car_of(image.stem))


def _warn_of_unlisted(inputs: Inputs, listed: Mapping[str, Sequence[Shapes]]) -> None:
    images = sum(sum(1 for _ in inputs.splits[split].images.images()) for split in listed if split in inputs.splits)
    if (missing := images - sum(map(len, listed.values()))) > 0:
        logger.warning("images without a line in the CSV, which are not read: %d", missing)


def _order(name: str) -> tuple[int, str]:
    return (int(name.removeprefix("class_")) if name.removeprefix("class_").isdecimal() else 0), name


def _files(inputs: Inputs) -> list[tuple[ListFile, _Columns]]:
    lists = find_lists(inputs, (".csv",))
    return [(file, columns) for file in lists if (columns := _columns(file.path)) is not None]


def _columns(path: Path) -> _Columns | None:
    try:
        header = [name.strip().lower() for row in islice(read_rows(path), 1) for name in row.cells]
    except DataError:
        return None
    image, rle, label = (
        next((header.index(name) for name in known if name in header), None)
        for known in (_IMAGE_COLUMNS, _RLE_COLUMNS, _CLASS_COLUMNS)
    )
    if image is None or rle is None:
        return None
    return _Columns(image, rle, label, header[rle] == _BY_ROW, header[image] == _WITH_CLASS)


def _lines(path: Path, columns: _Columns) -> Iterator[tuple[str, str, str, str]]:
    """Place, image, class and run lengths of each line; empty run lengths mark nothing."""
    for row in islice(read_rows(path, _LONGEST), 1, None):
        image, runs, label = (row.cell(column) or "" for column in (columns.image, columns.rle, columns.label))
        if columns.holds_class:
            image, _, label = image.rpartition("_")
        name = FOREGROUND if not label else f"class_{label}" if label.isdecimal() else label
        yield row.place, image, name, "" if runs.lower() in _NONE else runs
