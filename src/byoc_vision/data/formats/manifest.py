"""Images listed in an augmented manifest in the channel, as Ground Truth writes it: one JSON object per line.

Source: "Provide Dataset Metadata to Training Jobs with an Augmented Manifest File" and "Labeling Job Output Data" in
the SageMaker developer guide.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from byoc_vision.data.formats.base import Inputs, ParsedDataset
from byoc_vision.data.formats.label_parsing import Entry, Labels, as_multi_hot, labelled_dataset, parse_label
from byoc_vision.data.formats.lists import (
    Line,
    ListFile,
    MaskEntry,
    by_split,
    check_lists,
    find_lists,
    masked_dataset,
    read_lines,
    report_problems,
)
from byoc_vision.data.samples import DataOptions
from byoc_vision.types import ClassInfo, Task

_ENDINGS = (".manifest", ".jsonl", ".json-lines", ".jsonlines")
_IMAGE = "source-ref"
_METADATA = "-metadata"
_REFERENCE = "-ref"
# In the order of trial; otherwise the first attribute with metadata, or the only other attribute.
_LABELS = ("class", "label", "labels", "multi-label")


class _Item(NamedTuple):
    """A line of a manifest and its object, whose image is a text."""

    line: Line
    content: dict[str, Any]

    @property
    def image(self) -> str:
        return str(self.content[_IMAGE])


class ManifestLabels:
    """Classification: `source-ref` and a label attribute, a number, a name, or a list of these.

    Numbers are indices of classes; their names are `class-name` or `class-map` of the metadata, otherwise `class_3`.
    A list of numbers holds classes; if all lists have the same length and only 0 and 1, they are vectors with a 0 or a
    1 for each class.
    """

    name = "manifest"
    task: Task = "classification"
    title = "images listed in augmented manifests"
    example = (
        "train/1.jpg, 2.jpg, …       validation/3.jpg, …\n"
        'train/train.manifest        {"source-ref": "s3://bucket/train/1.jpg", "class": 0}, a line per image\n'
        'several labels:             {"source-ref": "s3://bucket/train/1.jpg", "label": [0, 1, 1]}'
    )

    def matches(self, inputs: Inputs) -> bool:
        content = _first_object(inputs)
        return content is not None and _mask_attribute(content) is None

    def read(self, inputs: Inputs, options: DataOptions, classes: Sequence[ClassInfo] = ()) -> ParsedDataset:
        entries: dict[str, list[Entry]] = {split: [] for split in ("train", "validation", "test")}
        names: dict[int, str] = {}
        for file in _lists(inputs):
            problems: list[str] = []
            for item in _items(file, problems):
                image = file.images.find(item.image)
                try:
                    if isinstance(image, str):
                        raise ValueError(image)
                    labels = _labels(item.content, names)
                except ValueError as error:
                    problems.append(f"{item.line.place}: {error}")
                    continue
                entries[file.split_of(image)].append(Entry(item.line.place, image, labels))
            report_problems(f"lines of {file.path} that cannot be used:", problems, options)
        listed = by_split(entries, inputs)
        if not names:
            listed = as_multi_hot(listed, options.num_classes)
        return labelled_dataset(listed, options, classes, names)


class ManifestMasks:
    """Segmentation: `source-ref` and an attribute that ends with `-ref` and points to a PNG mask.

    If `internal-color-map` in its metadata names the values of the masks, these are the classes.
    """

    name = "manifest"
    task: Task = "segmentation"
    title = "images and masks listed in augmented manifests"
    example = (
        "train/1.jpg, 1.png, …       or train_annotation/1.png, …\n"
        'train/train.manifest        {"source-ref": "s3://bucket/train/1.jpg", "mask-ref": "s3://bucket/train/1.png"}'
    )

    def matches(self, inputs: Inputs) -> bool:
        content = _first_object(inputs)
        return content is not None and _mask_attribute(content) is not None

    def read(self, inputs: Inputs, options: DataOptions, classes: Sequence[ClassInfo] = ()) -> ParsedDataset:
        entries: dict[str, list[MaskEntry]] = {split: [] for split in ("train", "validation", "test")}
        names: dict[int, str] = {}
        for file in _lists(inputs):
            problems: list[str] = []
            for item in _items(file, problems):
                attribute = _mask_attribute(item.content)
                image = file.images.find(item.image)
                mask = file.masks.find(str(item.content[attribute])) if attribute else _no_mask()
                if isinstance(image, str) or isinstance(mask, str):
                    problems.append(f"{item.line.place}: {image if isinstance(image, str) else mask}")
                    continue
                names |= _colour_names(item.content, attribute or "")
                entries[file.split_of(image)].append(MaskEntry(item.line.place, image, mask))
            report_problems(f"lines of {file.path} that cannot be used:", problems, options)
        return masked_dataset(by_split(entries, inputs), options, names)


def _lists(inputs: Inputs) -> list[ListFile]:
    lists = find_lists(inputs, _ENDINGS, channel="manifest")
    check_lists(lists, inputs)
    return lists


def _first_object(inputs: Inputs) -> dict[str, Any] | None:
    """The object in the first line of the first manifest; empty if it is not valid; None without a manifest."""
    file = next(iter(find_lists(inputs, _ENDINGS, channel="manifest")), None)
    if file is None:
        return None
    line = next(read_lines(file.path), None)
    return (_object(line) or {}) if line else {}


def _object(line: Line) -> dict[str, Any] | None:
    try:
        content = json.loads(line.text)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _items(file: ListFile, problems: list[str]) -> Iterator[_Item]:
    """The lines with an image; the others are added to the problems."""
    example = '{"source-ref": "s3://bucket/1.jpg", "class": 0}'
    for line in read_lines(file.path, comment="\n"):
        content = _object(line)
        if content is None:
            problems.append(f"{line.place}: this is not a JSON object; a line looks like {example}")
        elif not isinstance(content.get(_IMAGE), str):
            problems.append(f"{line.place}: there is no {_IMAGE!r} that names an image; a line looks like {example}")
        else:
            yield _Item(line, content)


def _labels(content: Mapping[str, Any], names: dict[int, str]) -> Labels:
    """The labels of a line; their names in its metadata are added to `names`. Raises ValueError."""
    attribute = _label_attribute(content)
    try:
        labels = parse_label(content[attribute])
    except ValueError as error:
        raise ValueError(f"the label {attribute!r}: {error}") from error
    metadata = content.get(f"{attribute}{_METADATA}")
    if isinstance(metadata, dict):
        named = metadata.get("class-map")
        called = dict(named) if isinstance(named, dict) else {}
        if isinstance(metadata.get("class-name"), str) and len(labels.classes) == 1:
            called[str(labels.classes[0])] = metadata["class-name"]
        for number in labels.classes:
            name = called.get(str(number))
            if isinstance(number, int) and isinstance(name, str) and names.setdefault(number, name) != name:
                raise ValueError(f"the class {number} is called {name!r} here and {names[number]!r} before")
    return labels


def _label_attribute(content: Mapping[str, Any]) -> str:
    with_metadata = [name for name in content if f"{name}{_METADATA}" in content]
    others = [name for name in content if name != _IMAGE and not name.endswith(_METADATA)]
    candidates = [*(name for name in _LABELS if name in content), *with_metadata, *others]
    if not candidates:
        raise ValueError("there is no label; add an attribute 'class' or 'label'")
    return candidates[0]


def _mask_attribute(content: Mapping[str, Any]) -> str | None:
    return next((name for name in content if name.endswith(_REFERENCE) and name != _IMAGE), None)


def _no_mask() -> str:
    return "there is no attribute that ends with '-ref' and names a mask, unlike in the lines before"


def _colour_names(content: Mapping[str, Any], attribute: str) -> dict[int, str]:
    """Mask value → class name, from the metadata's `internal-color-map`."""
    metadata = content.get(f"{attribute}{_METADATA}")
    colours = metadata.get("internal-color-map") if isinstance(metadata, dict) else None
    if not isinstance(colours, dict):
        return {}
    return {
        int(value): str(entry["class-name"])
        for value, entry in colours.items()
        if value.isascii()
        and value.isdecimal()
        and len(value) < 4
        and int(value) < 256
        and isinstance(entry, dict)
        and "class-name" in entry
    }
