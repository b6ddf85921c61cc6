"""Images listed in an augmented manifest in the channel, as Ground Truth writes it: one JSON object per line.

Source: "Provide Dataset Metadata to Training Jobs with an Augmented Manifest File" and "Labeling Job Output Data" in
the SageMaker developer guide.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple

from byoc_vision.data.formats.base import Inputs, ParsedDataset
from byoc_vision.data.formats.colour_tables import colours_of_manifest
from byoc_vision.data.formats.label_parsing import Entry, Labels, as_multi_hot, labelled_dataset, parse_label
from byoc_vision.data.formats.lists import (
    Line,
    ListFile,
    MaskEntry,
    by_split,
    check_lists,
    find_lists,
    masked_dataset,
    noting,
    read_lines,
    report_list_problems,
)
from byoc_vision.data.samples import DataOptions, MaskMap
from byoc_vision.errors import InputError
from byoc_vision.preprocess import IGNORED
from byoc_vision.types import ClassInfo, Task

_ENDINGS = (".manifest", ".jsonl", ".json-lines", ".jsonlines")
_IMAGE = "source-ref"
_METADATA = "-metadata"
_REFERENCE = "-ref"
_SAMPLED = 100  # lines: Ground Truth leaves the label out where it failed
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
        return _task(inputs) == self.task

    def read(self, inputs: Inputs, options: DataOptions, classes: Sequence[ClassInfo] = ()) -> ParsedDataset:
        attribute = _label_attribute(inputs, options)
        entries: dict[str, list[Entry]] = defaultdict(list)
        problems: list[str] = []
        names: dict[int, str] = {}
        for file in _lists(inputs):
            for item in _items(file, problems):
                with noting(problems, item.line.place):
                    image = file.images.one(item.image)
                    labels = _labels(item.content, attribute, names)
                    entries[file.split_of(image)].append(Entry(item.line.place, image, labels))
        report_list_problems("lines", _lists(inputs), problems, options)
        listed = by_split(entries, inputs)
        if not names:
            listed = as_multi_hot(listed, options.num_classes)
        return labelled_dataset(listed, options, classes, names)


class ManifestMasks:
    """Segmentation: `source-ref` and an attribute that ends with `-ref` and points to a PNG mask.

    If `internal-color-map` in its metadata names the values or the colours of the masks, these are the classes. Each
    line has a map of its own: workers' tools number the classes differently.
    """

    name = "manifest"
    task: Task = "segmentation"
    title = "images and masks listed in augmented manifests"
    example = (
        "train/1.jpg, 1.png, …       or train_annotation/1.png, …\n"
        'train/train.manifest        {"source-ref": "s3://bucket/train/1.jpg", "mask-ref": "s3://bucket/train/1.png"}'
    )

    def matches(self, inputs: Inputs) -> bool:
        return _task(inputs) == self.task

    def read(self, inputs: Inputs, options: DataOptions, classes: Sequence[ClassInfo] = ()) -> ParsedDataset:
        attribute = _mask_attribute(inputs, options)
        entries: dict[str, list[MaskEntry]] = defaultdict(list)
        problems: list[str] = []
        maps: dict[str, dict[int, str]] = {}
        colours: dict[str, dict[str, int]] = {}
        for file in _lists(inputs):
            for item in _items(file, problems):
                image = file.images.find(item.image)
                mask = file.masks.find(str(item.content[attribute])) if attribute in item.content else _no_mask()
                if isinstance(image, str) or isinstance(mask, str):
                    problems += [f"{item.line.place}: {one}" for one in (image, mask) if isinstance(one, str)]
                    continue
                maps[item.line.place] = _colour_names(item.content, attribute)
                colours[item.line.place] = colours_of_manifest(_color_map(item.content, attribute))
                entries[file.split_of(image)].append(MaskEntry(item.line.place, image, mask))
        report_list_problems("lines", _lists(inputs), problems, options)
        values = _values(maps.values(), classes)
        mapped = {
            split: [_with_map(entry, maps[entry.where], values, colours[entry.where]) for entry in of]
            for split, of in entries.items()
        }
        return masked_dataset(by_split(mapped, inputs), options, {value: name for name, value in values.items()})


def _lists(inputs: Inputs) -> list[ListFile]:
    lists = find_lists(inputs, _ENDINGS, channel="manifest")
    check_lists(lists, inputs)
    return lists


def _attributes(inputs: Inputs) -> dict[str, bool] | None:
    """The attributes of the first lines, without the image, and whether they have metadata; None without a manifest."""
    if "attributes" not in inputs.memo:
        files = find_lists(inputs, _ENDINGS, channel="manifest")[:1]
        lines = (line for file in files for line in islice(read_lines(file.path), _SAMPLED))
        found: dict[str, bool] = {}
        for content in filter(None, map(_object, lines)):
            for name in content:
                if name != _IMAGE and not name.endswith(_METADATA):
                    found[name] = found.get(name, False) or f"{name}{_METADATA}" in content
        inputs.memo["attributes"] = found if files else None
    attributes: dict[str, bool] | None = inputs.memo["attributes"]
    return attributes


def _task(inputs: Inputs) -> Task | None:
    """What the manifests are for, by the chosen attribute, the chosen task, or the attributes; None without any."""
    attributes, options = _attributes(inputs), inputs.options
    if attributes is None:
        return None
    if options.label_attribute is not None:
        return "segmentation" if options.label_attribute.endswith(_REFERENCE) else "classification"
    has_masks = any(name.endswith(_REFERENCE) for name in attributes)
    only_masks = all(name.endswith(_REFERENCE) for name in attributes)
    if has_masks and (only_masks or options.task != "classification"):
        return "segmentation"
    return "classification"


def _label_attribute(inputs: Inputs, options: DataOptions) -> str:
    """The attribute of the labels: the user's, the only one with metadata, a usual name, or the only other one.

    Raises InputError if there are several, or none with the user's name.
    """
    attributes = {name: said for name, said in (_attributes(inputs) or {}).items() if not name.endswith(_REFERENCE)}
    if options.label_attribute is not None:
        return _known(options.label_attribute, inputs)
    with_metadata = [name for name, has_metadata in attributes.items() if has_metadata]
    usual = [name for name in _LABELS if name in attributes]
    candidates = with_metadata or usual[:1] or list(attributes)
    if len(candidates) > 1:
        raise _several(candidates, inputs)
    return candidates[0] if candidates else _LABELS[0]


def _mask_attribute(inputs: Inputs, options: DataOptions) -> str:
    """The attribute of the masks. Raises InputError if there are several, or labels beside them."""
    attributes = _attributes(inputs) or {}
    if options.label_attribute is not None:
        return _known(options.label_attribute, inputs)
    masks = [name for name in attributes if name.endswith(_REFERENCE)]
    labels = [name for name, has_metadata in attributes.items() if has_metadata and name not in masks]
    if len(masks) > 1 or (labels and options.task == "auto"):
        raise _several([*masks, *labels], inputs)
    return masks[0]


def _known(name: str, inputs: Inputs) -> str:
    attributes = _attributes(inputs) or {}
    if name not in attributes:
        known = ", ".join(attributes) or "none"
        raise InputError(f"label_attribute={name}, but the manifests have no such attribute; they have: {known}")
    return name


def _several(candidates: Sequence[str], inputs: Inputs) -> InputError:
    path = find_lists(inputs, _ENDINGS, channel="manifest")[0].path
    return InputError(
        f"{path} has several attributes that can be the labels: {', '.join(candidates)}; choose one with "
        f"label_attribute, as label_attribute={candidates[0]}"
    )


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


def _labels(content: Mapping[str, Any], attribute: str, names: dict[int, str]) -> Labels:
    """The labels of a line; their names in its metadata are added to `names`. Raises ValueError."""
    if attribute not in content:
        raise ValueError(f"there is no label; add an attribute {attribute!r}" + _failure(content, attribute))
    value = content[attribute]
    if isinstance(value, dict) and "annotations" in value:
        raise ValueError(f"{attribute!r} holds bounding boxes, which are neither labels of images nor masks")
    try:
        labels = parse_label(value)
    except ValueError as error:
        raise ValueError(f"{attribute!r}: {error}") from error
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


def _failure(content: Mapping[str, Any], attribute: str) -> str:
    """Why Ground Truth did not label an image, if it says so."""
    metadata = content.get(f"{attribute}{_METADATA}")
    reason = metadata.get("failure-reason") if isinstance(metadata, dict) else None
    return f" (Ground Truth: {reason})" if reason else ""


def _values(maps: Iterable[Mapping[int, str]], classes: Sequence[ClassInfo]) -> dict[str, int]:
    """Class → its value in predictions: the model's, otherwise the first in the maps that no other class has."""
    values = {entry.name: entry.value for entry in classes if entry.value is not None}
    for colours in maps:
        for value, name in sorted(colours.items()):
            if name not in values:
                taken = set(values.values())
                free = (other for other in (value, *range(1, 256)) if other not in taken)
                values[name] = next(free, value)
    return values


def _with_map(
    entry: MaskEntry, names: Mapping[int, str], values: Mapping[str, int], colours: Mapping[str, int]
) -> MaskEntry:
    """With the line's own map, if it numbers the classes differently, or gives their colours."""
    coloured = tuple((colour, values[name]) for name, colour in colours.items() if name in values)
    if not coloured and all(values[name] == value for value, name in names.items()):
        return entry
    pairs = {IGNORED: IGNORED} | {value: values[name] for value, name in names.items()}
    title = f"{entry.where}, internal-color-map,"
    return replace(entry, mask_map=MaskMap(title, tuple(sorted(pairs.items())), colours=coloured))


def _no_mask() -> str:
    return "there is no attribute that ends with '-ref' and names a mask, unlike in the lines before"


def _color_map(content: Mapping[str, Any], attribute: str) -> dict[str, Any]:
    metadata = content.get(f"{attribute}{_METADATA}")
    colours = metadata.get("internal-color-map") if isinstance(metadata, dict) else None
    return colours if isinstance(colours, dict) else {}


def _colour_names(content: Mapping[str, Any], attribute: str) -> dict[int, str]:
    """Mask value → class name, from the metadata's `internal-color-map`."""
    return {
        int(value): str(entry["class-name"])
        for value, entry in _color_map(content, attribute).items()
        if value.isascii()
        and value.isdecimal()
        and len(value) < 4
        and int(value) < 256
        and isinstance(entry, dict)
        and "class-name" in entry
    }
