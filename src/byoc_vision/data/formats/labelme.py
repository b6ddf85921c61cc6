"""Segmentation: LabelMe's JSON, a file for each image.

https://github.com/wkentaro/labelme. The pixels that it may hold of the image are not read.
"""

from __future__ import annotations

import base64
import binascii
import logging
import math
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import msgspec

from byoc_vision.data.decoding import Content, read_content, read_mask
from byoc_vision.data.formats.base import Inputs, ParsedDataset
from byoc_vision.data.formats.channels import split_of_path
from byoc_vision.data.formats.drawn import (
    BOXES_ALONE,
    Shapes,
    drawn_dataset,
    has_mask_files,
    labels_for,
    report_entries,
    unlisted,
)
from byoc_vision.data.formats.lists import ImageIndex, read_head, read_lines
from byoc_vision.data.formats.scan import Folder
from byoc_vision.data.formats.stems import composed
from byoc_vision.data.samples import DataOptions
from byoc_vision.data.shapes import ellipse, polygon, runs_of
from byoc_vision.errors import DataError
from byoc_vision.types import ClassInfo, Task

logger = logging.getLogger(__name__)

_LEAST_PAIRED = 0.5  # of the JSON files: that many have an image of their name
_LOOKED_AT = 5  # files
_HEAD = 4096  # bytes
_SHAPES = re.compile(rb'\{.*"shapes"\s*:', re.DOTALL)
_LABELS = "labels.txt"
_SHOWN = 3  # wrong shapes of a file


class _Shape(msgspec.Struct):
    label: str
    points: list[tuple[float, float]]
    shape_type: str | None = "polygon"
    mask: str | None = None


class _File(msgspec.Struct):
    shapes: list[_Shape]
    imagePath: str | None = None  # noqa: N815 - LabelMe's name
    imageHeight: int | None = None  # noqa: N815
    imageWidth: int | None = None  # noqa: N815


class LabelMe:
    """`1.json` beside `1.jpg`, or in another folder; images without such a file are not read.

    Polygons, rectangles, circles and masks are drawn in the order of the file. `__ignore__` does not count.
    """

    name = "labelme"
    task: Task = "segmentation"
    title = "images with LabelMe's JSON"
    example = "train/1.jpg, 1.json, 2.jpg, 2.json, …   or  train/images/1.jpg, …  train/labels/1.json, …"

    def matches(self, inputs: Inputs) -> bool:
        if has_mask_files(inputs):
            return False
        folder = inputs.first.images
        files = _json_files(folder)
        if not files or not _are_paired(files, folder):
            return False
        return any(_has_shapes(folder.path / file) for file in files[:_LOOKED_AT])

    def read(self, inputs: Inputs, options: DataOptions, classes: Sequence[ClassInfo] = ()) -> ParsedDataset:
        listed: dict[str, list[Shapes]] = {"train": []}
        types: set[str] = set()
        problems: list[str] = []
        for split, entry in inputs.splits.items():
            index = ImageIndex((entry.images,))
            for path in _json_files(entry.images):
                try:
                    found = _read(entry.images.path / path, path, index, types)
                except (DataError, ValueError) as error:
                    problems.append(str(error))
                    continue
                own = split_of_path(path) if len(inputs.splits) == 1 and split == "train" else None
                listed.setdefault(own or split, []).append(found)
        if types == {"rectangle"}:
            raise DataError(f"{inputs.first.images.path} {BOXES_ALONE}")
        labels = _listed_labels(inputs)
        listed = {split: _with_known_labels(held, labels, problems) for split, held in listed.items()}
        report_entries("JSON files of LabelMe that cannot be used:", problems, listed, options)
        _warn_of_unlabelled(inputs, listed)
        used = {name for shapes in listed.values() for one in shapes for name in one.names}
        return drawn_dataset(listed, labels_for(labels, used), options, classes)


def _json_files(folder: Folder) -> list[PurePosixPath]:
    """All JSON files here and below, relative to the folder."""
    names = (above + name for above, inner in folder.walk() for name in inner.files)
    return [PurePosixPath(name) for name in names if name.lower().endswith(".json")]


def _are_paired(files: Sequence[PurePosixPath], folder: Folder) -> bool:
    stems = set(map(composed, folder.image_stems()))
    return sum(composed(path.stem) in stems for path in files) >= _LEAST_PAIRED * len(files)


def _decode(path: Path) -> _File:
    """Raises DataError that names the file and the field."""
    try:
        return msgspec.json.decode(read_content(path).data.removeprefix(b"\xef\xbb\xbf"), type=_File)
    except (msgspec.MsgspecError, ValueError) as error:
        raise DataError(f"{path} is not valid LabelMe JSON: {error}; save it again") from error


def _has_shapes(path: Path) -> bool:
    """Whether a file is LabelMe's, or one that was cut short."""
    try:
        return _SHAPES.search(read_head(path, _HEAD)) is not None or bool(_decode(path))
    except DataError:
        return False


def _read(path: Path, name: PurePosixPath, index: ImageIndex, types: set[str]) -> Shapes:
    """Raises DataError or ValueError that names the file and the shape."""
    content = _decode(path)
    image = _image(index, name, content)
    if image is None:
        raise DataError(f"{path}: there is no image {content.imagePath or name.stem!r}; add it or remove the file")
    height, width = content.imageHeight or 0, content.imageWidth or 0
    outlines: list[bytes] = []
    problems: list[str] = []
    for place, shape in enumerate(content.shapes, start=1):
        types.add(shape.shape_type or "polygon")
        try:
            outlines.append(_outline(shape, height, width))
        except (ValueError, binascii.Error) as error:
            problems.append(f"shape {place} ({shape.label}): {error}")
    if problems:
        raise DataError(f"{path}, {'; '.join(problems[:_SHOWN])}" + ("; …" if len(problems) > _SHOWN else ""))
    names = tuple(shape.label for shape in content.shapes)
    return Shapes(image, path, f"image {image.name}", names, tuple(outlines), size=(height, width) if height else None)


def _image(index: ImageIndex, name: PurePosixPath, content: _File) -> Path | None:
    """The image beside the file, or the one with its name or path elsewhere in the folder."""
    for text in (str(name.with_suffix("")), name.stem, (content.imagePath or "").replace("\\", "/")):
        if text and isinstance(found := index.find(text), Path):
            return found
    return None


def _outline(shape: _Shape, height: int, width: int) -> bytes:
    """Raises ValueError for what is not an area."""
    points = shape.points
    match shape.shape_type or "polygon":
        case "polygon":
            return polygon([value for point in points for value in point])
        case "rectangle" if len(points) == 2:
            (left, top), (right, bottom) = points
            return polygon([left, top, right, top, right, bottom, left, bottom])
        case "circle" if len(points) == 2:
            centre, edge = points
            radius = math.dist(centre, edge)
            return ellipse(*centre, radius, radius)
        case "mask" if len(points) == 2 and shape.mask and height:
            (left, top), _ = points
            content = Content("its mask", base64.b64decode(shape.mask))
            return runs_of(read_mask(content) > 0, round(top), round(left), height, width)
    raise ValueError(f"a {shape.shape_type} of {len(points)} points is not an area; draw polygons")


def _listed_labels(inputs: Inputs) -> list[str]:
    """The classes in `labels.txt`, in order, if there is one."""
    folders = [*inputs.first_and_above, *inputs.first.images.folders]
    path = next((folder.path / _LABELS for folder in folders if _LABELS in folder.files), None)
    return [text for _, text in read_lines(path)] if path else []


def _with_known_labels(listed: Sequence[Shapes], labels: Sequence[str], problems: list[str]) -> list[Shapes]:
    """The entries whose labels are in `labels.txt`; the others are added to the problems."""
    wrong = {one.file: found for one in listed if (found := unlisted(one.names, labels))}
    problems += [f"{file}: {_LABELS} does not contain {', '.join(map(repr, found))}" for file, found in wrong.items()]
    return [one for one in listed if one.file not in wrong]


def _warn_of_unlabelled(inputs: Inputs, listed: dict[str, list[Shapes]]) -> None:
    images = sum(sum(1 for _ in entry.images.image_paths()) for entry in inputs.splits.values())
    if (missing := images - sum(map(len, listed.values()))) > 0:
        logger.warning("images without a JSON file of LabelMe, which are not read: %d", missing)
