"""Segmentation: YOLO's polygons, a text file for each image.

https://docs.ultralytics.com/datasets/segment/: a line is a class and x, y of the corners, as
shares of width and height.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import msgspec

from byoc_vision.data.formats.base import Inputs, ParsedDataset
from byoc_vision.data.formats.channels import Split, split_of_path
from byoc_vision.data.formats.drawn import BOXES_ALONE, Shapes, drawn_dataset, has_mask_files, report_entries
from byoc_vision.data.formats.lists import read_lines, read_text, split_of_file
from byoc_vision.data.formats.scan import Folder
from byoc_vision.data.samples import DataOptions
from byoc_vision.data.shapes import polygon
from byoc_vision.errors import DataError
from byoc_vision.types import ClassInfo, Task

_NUMBERS_OF_BOX = 5
_LEAST_NUMBERS = 7  # a class and three corners
_LABELS = "labels"


class _Data(msgspec.Struct):
    """data.yaml"""

    names: list[str] | dict[int, str]


class YoloSegmentation:
    """`images/1.jpg` and `labels/1.txt`, or both in one folder; `data.yaml` or `classes.txt` names the classes.

    An image without a text file, or with an empty one, is background. Later polygons lie over earlier ones.
    """

    name = "yolo"
    task: Task = "segmentation"
    title = "images with YOLO's polygons"
    example = (
        "train/data.yaml                  names: [car, tree]          or  train/data.yaml\n"
        "train/images/train/1.jpg, …  train/images/val/2.jpg, …           train/train/images/1.jpg, …\n"
        "train/labels/train/1.txt, …  a line: 0 0.1 0.2 0.5 0.2 0.3 0.7   train/train/labels/1.txt, …"
    )

    def matches(self, inputs: Inputs) -> bool:
        return not has_mask_files(inputs) and _has_labels(inputs.first)

    def read(self, inputs: Inputs, options: DataOptions, classes: Sequence[ClassInfo] = ()) -> ParsedDataset:
        names = _names(inputs)
        listed: dict[str, list[Shapes]] = {"train": []}
        problems: list[str] = []
        boxes: list[str] = []
        highest = -1
        for split, entry in inputs.splits.items():
            files = _text_files(entry.images)
            used: set[str] = set()
            for image in entry.images.images():
                text = _label_file(image, files)
                lines = _lines(entry.images.path / text, names, problems, boxes) if text else []
                highest = max([highest, *(line.number for line in lines)])
                own = split_of_path(image) if len(inputs.splits) == 1 and split == "train" else None
                listed.setdefault(own or split, []).append(_shapes(entry.images.path, image, text, lines, names))
                used.add(text or "")
            problems += [
                f"{entry.images.path / text}: there is no image for it"
                for text in sorted(files - used)
                if _is_label(text)
            ]
        if boxes and not any(one.names for shapes in listed.values() for one in shapes):
            raise DataError(f"{inputs.first.images.path} {BOXES_ALONE}")
        report_entries("lines of YOLO's labels that cannot be used:", [*problems, *boxes], listed, options)
        named = [names.get(number, f"class_{number}") for number in range(max([highest, *names]) + 1)]
        return drawn_dataset(listed, named, options, classes)


class _Line(NamedTuple):
    """A polygon. number: of its class."""

    number: int
    outline: bytes


def _has_labels(split: Split) -> bool:
    """Whether most text files have an image, and there are such files in `labels` or beside a list of the classes."""
    folder = split.images
    files = _text_files(folder)
    if not files:
        return False
    used = {text for image in folder.images() if (text := _label_file(image, files))}
    is_named = any(_LABELS in PurePosixPath(text).parts for text in used)
    return bool(used) and 2 * len(used) > len(files) and (is_named or _names_file(split) is not None)


def _is_label(text: str) -> bool:
    """Whether a text file is in `labels`, and not a list of classes or images."""
    folders, name = PurePosixPath(text).parts[:-1], text.rpartition("/")[2]
    return _LABELS in folders and name != "classes.txt" and split_of_file(name) is None


def _text_files(folder: Folder) -> set[str]:
    return {above + name for above, inner in folder.walk() for name in inner.files if name.endswith(".txt")}


def _label_file(image: PurePosixPath, files: set[str]) -> str | None:
    """The text file of an image: in `labels` instead of `images`, in `labels` beside it, or beside it."""
    text = f"{str(image).rpartition('.')[0]}.txt"  # strings: there may be 100,000 images
    *parts, name = text.split("/")
    places = [text, "/".join([*parts, _LABELS, name]), f"{_LABELS}/{text}"]
    if "images" in parts:
        last = len(parts) - 1 - parts[::-1].index("images")
        places.insert(0, "/".join([*parts[:last], _LABELS, *parts[last + 1 :], name]))
    return next((place for place in places if place in files), None)


def _names_file(split: Split) -> Path | None:
    folders = [*split.images.unwrapped(), *split.images.folders, *((split.parent,) if split.parent else ())]
    files = [folder.path / name for folder in folders for name in folder.files]
    yaml = [path for path in files if path.suffix.lower() in (".yaml", ".yml")]
    return next(iter(yaml + [path for path in files if path.name in ("classes.txt", "obj.names")]), None)


def _names(inputs: Inputs) -> dict[int, str]:
    """Number → class; empty without a file that names them. Raises DataError that names the file."""
    path = next((found for split in inputs.splits.values() if (found := _names_file(split))), None)
    if path is None:
        return {}
    if path.suffix.lower() not in (".yaml", ".yml"):
        return dict(enumerate(text for _, text in read_lines(path)))
    try:
        names = msgspec.yaml.decode(read_text(path), type=_Data).names
    except msgspec.MsgspecError as error:
        raise DataError(f"{path}: {error}; it names the classes like this: names: [car, tree]") from error
    return dict(enumerate(names)) if isinstance(names, list) else names


def _lines(path: Path, names: Mapping[int, str], problems: list[str], boxes: list[str]) -> list[_Line]:
    """The polygons of a file; lines that cannot be used are added to the problems."""
    found: list[_Line] = []
    try:
        lines = list(read_lines(path))
    except DataError as error:
        problems.append(str(error))
        return found
    for place, text in lines:
        number, *numbers = text.split()
        if len(numbers) + 1 == _NUMBERS_OF_BOX:
            boxes.append(f"{place}: this is a bounding box, not a polygon")
            continue
        try:
            corners = [float(value) for value in numbers]
            if not number.isdecimal() or len(numbers) % 2 or len(numbers) + 1 < _LEAST_NUMBERS:
                raise ValueError
        except ValueError:
            problems.append(f"{place}: a line is a class and x, y of three or more corners, not {text[:40]!r}")
            continue
        if names and int(number) not in names:
            problems.append(f"{place}: there is no class {number}; the file of the classes names 0–{max(names)}")
        elif int(number) > 255:
            problems.append(f"{place}: the class {number} is out of range; masks can have 254 classes")
        else:
            found.append(_Line(int(number), polygon(corners)))
    return found


def _shapes(
    folder: Path, image: PurePosixPath, text: str | None, lines: Sequence[_Line], names: Mapping[int, str]
) -> Shapes:
    return Shapes(
        folder / image,
        folder / (text or image),
        f"image {image.name}",
        tuple(names.get(line.number, f"class_{line.number}") for line in lines),
        tuple(line.outline for line in lines),
        is_relative=True,
    )
