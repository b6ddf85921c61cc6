"""Segmentation: COCO's JSON, as COCO itself, CVAT, Label Studio, Roboflow and many others write it.

https://cocodataset.org/#format-data. The file is read once; polygons and run lengths stay in it until a mask is drawn.
"""

from __future__ import annotations

import mmap
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from byoc_vision.data.formats.base import Inputs, ParsedDataset
from byoc_vision.data.formats.drawn import (
    BOXES_ALONE,
    Shapes,
    annotation_files,
    drawn_dataset,
    has_mask_files,
    report_entries,
)
from byoc_vision.data.formats.lists import ImageIndex, read_head
from byoc_vision.data.mask_colours import MOST_COLOURS
from byoc_vision.data.samples import DataOptions
from byoc_vision.errors import DataError
from byoc_vision.types import ClassInfo, Task

_FIRST_KEY = re.compile(rb'\s*\{\s*"(info|licenses|images|annotations|categories|type)"\s*:')
_IMAGES_KEY = re.compile(rb'\s*\{.*"images"\s*:\s*\[', re.DOTALL)
_HEAD = 2048  # bytes
_OTHER_TASKS = re.compile("caption|keypoint|panoptic|densepose", re.IGNORECASE)  # COCO's files beside instances_….json
_LONGEST_EMPTY = 8  # bytes of `[]`, `[[]]` or `null`


class _Image(msgspec.Struct, gc=False):
    id: int | str
    file_name: str
    width: int | None = None
    height: int | None = None


class _Annotation(msgspec.Struct, gc=False):
    image_id: int | str
    category_id: int | str
    segmentation: msgspec.Raw = msgspec.Raw()
    iscrowd: int | None = 0
    id: int | str | None = None


class _Category(msgspec.Struct, gc=False):
    id: int | str
    name: str
    supercategory: str | None = None


class _Coco(msgspec.Struct):
    images: list[_Image]
    categories: list[_Category] = []
    annotations: list[_Annotation] = []


class _LooseCoco(msgspec.Struct):
    """A file whose entries are not all valid."""

    images: list[msgspec.Raw]
    categories: list[msgspec.Raw] = []
    annotations: list[msgspec.Raw] = []


class _BrokenFileError(DataError):
    """A file that cannot be read at all."""


class _Parsed(NamedTuple):
    """A file without its shapes. shapes: image → category, offset and size of each, those of crowds first."""

    images: list[_Image]
    categories: list[_Category]
    shapes: Mapping[int | str, list[tuple[int | str, int, int]]]


class Coco:
    """A COCO JSON in each split, or one for all, above the images or beside them.

    The classes are the categories; a mask's values are the category ids if these lie within 1–253, otherwise 1, 2, …
    Crowds belong to their class and lie below other shapes, of which later ones lie over earlier ones.
    """

    name = "coco"
    task: Task = "segmentation"
    title = "images with COCO JSON"
    example = (
        "train/annotations/instances_train2017.json, instances_val2017.json     or  train/_annotations.coco.json\n"
        "train/train2017/1.jpg, …  train/val2017/2.jpg, …  (or images/train/…)      train/1.jpg, 2.jpg, …"
    )

    def matches(self, inputs: Inputs) -> bool:
        return not has_mask_files(inputs) and bool(_files(inputs))

    def read(self, inputs: Inputs, options: DataOptions, classes: Sequence[ClassInfo] = ()) -> ParsedDataset:
        listed: dict[str, list[Shapes]] = defaultdict(list)
        categories: dict[int | str, str] = {}
        problems: list[str] = []
        broken: list[str] = []
        for path, split, index in _files(inputs):
            try:
                parsed = _parse(path, problems)
                categories |= _named(parsed, path, categories)
            except _BrokenFileError as error:
                broken.append(str(error))
                continue
            listed[split] += _shapes(path, parsed, index, categories, problems)
        report_entries("entries of COCO's JSON that cannot be used:", problems, listed, options, broken)
        numbers = {name: number for number, name in categories.items() if isinstance(number, int)}
        usable = len(numbers) == len(categories) and all(0 < number < MOST_COLOURS for number in numbers.values())
        return drawn_dataset(listed, categories.values(), options, classes, numbers if usable else None)


def _files(inputs: Inputs) -> list[tuple[Path, str, ImageIndex]]:
    """The COCO files: path, split, and where its images are looked up."""
    found = [file for file in annotation_files(inputs, ".json") if _is_coco(file[0])]
    chosen = [file for file in found if not _OTHER_TASKS.search(file[0].name)]
    return [(path, split, ImageIndex(folders)) for path, split, folders in chosen]


def _is_coco(path: Path) -> bool:
    head = read_head(path, _HEAD).removeprefix(b"\xef\xbb\xbf")
    return (_FIRST_KEY.match(head) or _IMAGES_KEY.match(head)) is not None


def _parse(path: Path, problems: list[str]) -> _Parsed:
    """Raises _BrokenFileError that names the file, DataError for bounding boxes alone."""
    try:
        with path.open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        coco = _decode(content, path, problems)
    except OSError as error:
        raise _BrokenFileError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # also msgspec's errors, and mmap's for an empty file
        raise _BrokenFileError(f"{path} is not valid COCO JSON: {error}; export it again") from error
    start = _address(content)
    known = {image.id: image.file_name for image in coco.images}
    shapes: dict[int | str, list[tuple[int | str, int, int]]] = defaultdict(list)
    boxes = 0
    ordered = sorted(coco.annotations, key=lambda one: not one.iscrowd)  # stable: otherwise in the order of the file
    for place, one in enumerate(ordered, start=1):
        size = len(memoryview(one.segmentation))
        entry = f"{path}, annotation {_title(one, place)}"
        if one.image_id not in known:
            problems.append(f"{entry}: there is no image with the id {one.image_id!r}")
        elif size <= _LONGEST_EMPTY and not re.search(rb"[0-9\"]", bytes(one.segmentation)):
            boxes += 1
            problems.append(f"{entry} of {known[one.image_id]} is a bounding box without a polygon")
        else:
            shapes[one.image_id].append((one.category_id, _address(one.segmentation) - start, size))
    if boxes and boxes == len(coco.annotations):
        raise DataError(f"{path} {BOXES_ALONE}")
    return _Parsed(coco.images, coco.categories, shapes)


def _decode(content: mmap.mmap, path: Path, problems: list[str]) -> _Coco:
    """The whole file; entries that have not the fields of COCO are added to the problems. Raises ValueError."""
    try:
        return msgspec.json.decode(content, type=_Coco)
    except msgspec.ValidationError:
        loose = msgspec.json.decode(content, type=_LooseCoco)
    parts: dict[str, list[Any]] = {}
    for field, of in (("images", _Image), ("categories", _Category), ("annotations", _Annotation)):
        usable = parts.setdefault(field, [])
        for place, raw in enumerate(getattr(loose, field)):
            try:
                usable.append(msgspec.json.decode(raw, type=of))
            except msgspec.ValidationError as error:
                text = str(error).partition(" - at")[0]
                problems.append(f"{path} is not valid COCO JSON: {text} - at {field}[{place}]; export it again")
    return _Coco(**parts)


def _title(annotation: _Annotation, place: int) -> str:
    return str(place if annotation.id is None else annotation.id)


def _address(content: mmap.mmap | msgspec.Raw) -> int:
    address: int = np.frombuffer(content, np.uint8).__array_interface__["data"][0]
    return address


def _named(parsed: _Parsed, path: Path, known: Mapping[int | str, str]) -> dict[int | str, str]:
    """id → name, without the group that Roboflow puts first. Raises _BrokenFileError if files contradict each other."""
    groups = {category.supercategory for category in parsed.categories}
    used = {category for shapes in parsed.shapes.values() for category, _, _ in shapes}
    named = {one.id: one.name for one in parsed.categories if one.id in used or one.name not in groups}
    for number, name in named.items():
        if known.get(number, name) != name:
            raise _BrokenFileError(
                f"{path}: the category {number} is called {name!r} here and {known[number]!r} in another file; give "
                "the same categories to all splits"
            )
    return named


def _shapes(
    path: Path,
    parsed: _Parsed,
    index: ImageIndex,
    categories: Mapping[int | str, str],
    problems: list[str],
) -> list[Shapes]:
    found: list[Shapes] = []
    for image in parsed.images:
        shapes = parsed.shapes.get(image.id, [])
        entry = f"image {image.id} ({image.file_name})"
        file = index.find(image.file_name)
        unknown = sorted({str(category) for category, _, _ in shapes if category not in categories})
        if isinstance(file, str):
            problems.append(f"{path}, {entry}: {file}")
        if unknown:
            problems.append(f"{path}, {entry}: there is no category with the id {', '.join(unknown)}")
        if isinstance(file, Path) and not unknown:
            names = tuple(categories[category] for category, _, _ in shapes)
            ranges = np.array([where for _, *where in shapes], np.int64).tobytes()
            size = (image.height, image.width) if image.height and image.width else None
            found.append(Shapes(file, path, entry, names, ranges=ranges, size=size))
    return found
