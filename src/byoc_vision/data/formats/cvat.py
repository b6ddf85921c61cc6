"""Segmentation: the XML of CVAT, "CVAT for images".

https://docs.cvat.ai/docs/manual/advanced/xml_format/. The file may not declare entities, which
could expand without end.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.parsers import expat

import numpy as np

from byoc_vision.data.formats.base import Inputs, ParsedDataset
from byoc_vision.data.formats.channels import split_named
from byoc_vision.data.formats.drawn import (
    BOXES_ALONE,
    Shapes,
    annotation_files,
    drawn_dataset,
    has_mask_files,
    labels_for,
    report_entries,
    unlisted,
)
from byoc_vision.data.formats.lists import ImageIndex, read_head
from byoc_vision.data.formats.scan import Folder
from byoc_vision.data.samples import DataOptions
from byoc_vision.data.shapes import ellipse, polygon, runs_of
from byoc_vision.errors import DataError
from byoc_vision.types import ClassInfo, Task

_HEAD = 4096  # bytes
_AREAS = ("polygon", "mask", "ellipse")
_LINES = ("polyline", "points", "skeleton", "cuboid")


class _Image(NamedTuple):
    """An image and its shapes: their element and its attributes."""

    attributes: Mapping[str, str]
    shapes: list[tuple[str, Mapping[str, str]]]


class _Parsed(NamedTuple):
    """labels: the classes in the order of the task."""

    labels: list[str]
    images: list[_Image]


class CvatImages:
    """`annotations.xml` above or beside the images: polygons, ellipses and brushed masks, by their `z_order`.

    Boxes and lines are refused. The subsets `Train`, `Validation` and `Test` are the splits. Images without a shape are
    background.
    """

    name = "cvat"
    task: Task = "segmentation"
    title = "images with CVAT's XML"
    example = "train/annotations.xml\ntrain/images/1.jpg, 2.jpg, …"

    def matches(self, inputs: Inputs) -> bool:
        return not has_mask_files(inputs) and bool(_files(inputs))

    def read(self, inputs: Inputs, options: DataOptions, classes: Sequence[ClassInfo] = ()) -> ParsedDataset:
        listed: dict[str, list[Shapes]] = defaultdict(list)
        labels: list[str] = []
        problems: list[str] = []
        broken: list[str] = []
        for path, split, folders in _files(inputs):
            try:
                parsed = _parse(path)
            except DataError as error:
                broken.append(str(error))
                continue
            labels += parsed.labels
            index = ImageIndex(folders)
            if {kind for image in parsed.images for kind, _ in image.shapes} == {"box"}:
                raise DataError(f"{path} {BOXES_ALONE}")
            for image in parsed.images:
                shapes = _shapes(path, image, index, parsed.labels, problems)
                own = split_named(image.attributes.get("subset", "")) if len(inputs.splits) == 1 else None
                listed[own or split] += [shapes] if shapes else []
        report_entries("images of CVAT's XML that cannot be used:", problems, listed, options, broken)
        used = {name for shapes in listed.values() for one in shapes for name in one.names}
        return drawn_dataset(listed, labels_for(labels, used), options, classes)


def _files(inputs: Inputs) -> list[tuple[Path, str, tuple[Folder, ...]]]:
    return [file for file in annotation_files(inputs, ".xml") if b"<annotations" in read_head(file[0], _HEAD)]


def _parse(path: Path) -> _Parsed:
    """Raises DataError that names the file and the line."""
    parsed = _Parsed([], [])
    inside: list[str] = []
    text: list[str] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        inside.append(name)
        text.clear()
        if name == "image":
            parsed.images.append(_Image(attributes, []))
        elif "image" in inside and name in (*_AREAS, *_LINES, "box"):
            parsed.images[-1].shapes.append((name, attributes))

    def end(name: str) -> None:
        inside.pop()
        if name == "name" and inside[-1:] == ["label"]:
            parsed.labels.append("".join(text).strip())

    def refuse(*_: object) -> None:
        raise DataError(f"{path} declares a document type or entities, which CVAT does not write; export it again")

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = text.append
    try:
        with path.open("rb") as file:
            parser.ParseFile(file)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except (expat.ExpatError, LookupError, ValueError) as error:  # also an encoding that is not known
        raise DataError(f"{path} is not valid XML: {error}; export it again") from error
    return parsed


def _shapes(path: Path, image: _Image, index: ImageIndex, labels: Sequence[str], problems: list[str]) -> Shapes | None:
    """None for an image that cannot be used; why is added to the problems."""
    name = image.attributes.get("name", "")
    entry = f"image {image.attributes.get('id', '?')} ({name})"
    file = index.find(name)
    found = [file] if isinstance(file, str) else []
    height, width = (_whole(image.attributes.get(side, "")) for side in ("height", "width"))
    if height < 1 or width < 1:
        found.append("width and height are missing; export it again")
    ordered = sorted(image.shapes, key=lambda shape: _whole(shape[1].get("z_order", "0")))
    names = tuple(attributes.get("label", "") for _, attributes in ordered)
    found += [
        f"there is no label {one!r} in the list of the task: {', '.join(labels)}" for one in unlisted(names, labels)
    ]
    outlines = []
    for place, (kind, attributes) in enumerate(ordered, start=1):
        try:
            outlines.append(_outline(kind, attributes, height, width))
        except (KeyError, ValueError) as error:
            problems.append(f"{path}, {entry}, {kind} {place} ({attributes.get('label', 'without a label')}): {error}")
    problems += [f"{path}, {entry}: {one}" for one in found]
    if found or isinstance(file, str) or len(outlines) < len(ordered):
        return None
    return Shapes(file, path, entry, names, tuple(outlines), size=(height, width))


def _outline(kind: str, given: Mapping[str, str], height: int, width: int) -> bytes:
    """Raises ValueError or KeyError for attributes that cannot be used."""
    if kind == "polygon":
        return polygon([float(value) for point in given["points"].split(";") for value in point.split(",")])
    if kind == "ellipse":
        x, y, x_radius, y_radius = (float(given[key]) for key in ("cx", "cy", "rx", "ry"))
        return ellipse(x, y, x_radius, y_radius, math.radians(float(given.get("rotation", "0"))))
    if kind == "mask":
        top, left, rows, columns = (int(given[key]) for key in ("top", "left", "height", "width"))
        lengths = np.array([int(count) for count in given["rle"].split(",")], np.int64)
        if (lengths < 0).any() or int(lengths.sum()) != rows * columns:
            raise ValueError(f"the run lengths do not sum up to its {columns} × {rows} pixels")
        inside = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(rows, columns)
        return runs_of(inside, top, left, height, width)
    raise ValueError("this is not an area; draw polygons or masks")


def _whole(text: str) -> int:
    return int(text) if text.lstrip("-").isdecimal() else 0
