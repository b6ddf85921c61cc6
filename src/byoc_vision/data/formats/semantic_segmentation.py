"""The channels of SageMaker's built-in Semantic Segmentation, with its label map.

https://docs.aws.amazon.com/sagemaker/latest/dg/semantic-segmentation.html"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from byoc_vision.data.formats.base import Inputs, ParsedDataset
from byoc_vision.data.formats.channels import Split, is_label_map
from byoc_vision.data.formats.image_mask_pairs import folders_of, has_inner_masks, pair
from byoc_vision.data.formats.lists import read_text
from byoc_vision.data.samples import DataOptions, MaskMap
from byoc_vision.errors import DataError, list_problems
from byoc_vision.preprocess import IGNORED
from byoc_vision.types import ClassInfo, Task

LARGEST_LABEL = 253
DIRECTION = "its keys are the training labels, its values the pixel values"
INVERTED = f"the map seems to be inverted: {DIRECTION}"

_FORMS = '{"scale": "3"} or {"map": {"0": 0, "1": 127}}'


@dataclass(frozen=True)
class LabelMap:
    """A label map as a table.

    values: pixel value → training label; 255 stays 255, which is ignored.
    labels: the labels in a `map`, in ascending order; None for a `scale`, which does not list them.
    """

    path: Path
    values: dict[int, int]
    labels: tuple[int, ...] | None


class _Pairs(list[tuple[str, Any]]):
    """A JSON object with all its keys, including repeated ones."""


def read_label_map(path: Path) -> LabelMap:
    """`{"scale": "3"}` (value // scale) or `{"map": {"LABEL": PIXEL_VALUE}}`; numbers may be strings.

    Raises DataError that names the file and the field.
    """
    try:
        content = json.loads(read_text(path), object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {error}. Expected: {_FORMS}") from error
    fields = dict(content) if isinstance(content, _Pairs) else {}
    if len(fields.keys() & {"scale", "map"}) != 1:
        both = "both" if fields.keys() >= {"scale", "map"} else "neither"
        raise DataError(f"{path} holds {both} of 'scale' and 'map'; give one of them: {_FORMS}")
    return _scaled(path, fields["scale"]) if "scale" in fields else _mapped(path, fields["map"])


def _scaled(path: Path, value: object) -> LabelMap:
    scale = _number(value)
    if scale is None or not 1 <= scale < IGNORED:
        raise DataError(f"{path}: scale is {value!r}; give a whole number from 1 to 254, the divisor of the values")
    return LabelMap(path, {stored: stored // scale for stored in range(IGNORED)} | {IGNORED: IGNORED}, None)


def _mapped(path: Path, value: object) -> LabelMap:
    if not isinstance(value, _Pairs) or not value:
        raise DataError(f"{path}: map must be an object with at least one entry, such as {_FORMS}")
    problems = [problem for key, stored in value if (problem := _problem(key, stored))]
    problems += [
        f"label {key!r} is given twice" for key, count in Counter(key for key, _ in value).items() if count > 1
    ]
    labels_of: dict[int | None, list[str]] = {}
    for key, stored in value:
        labels_of.setdefault(_number(stored), []).append(key)
    problems += [
        f"the pixel value {stored} has the labels {' and '.join(labels)}; it can have one"
        for stored, labels in labels_of.items()
        if stored is not None and len(labels) > 1
    ]
    if problems:
        raise DataError(list_problems(f"{path}: the map is invalid; {DIRECTION}:", problems))
    pairs = [(int(stored), int(key)) for key, stored in value]
    labels = tuple(sorted({label for _, label in pairs if label != IGNORED}))
    return LabelMap(path, dict(pairs) | {IGNORED: IGNORED}, labels)


def _problem(key: str, value: object) -> str | None:
    label, stored = _number(key), _number(value)
    if label is None or not (0 <= label <= LARGEST_LABEL or label == IGNORED):
        return f"the label {key!r} is not a whole number from 0 to {LARGEST_LABEL} (or 255: ignored)"
    if stored is None or not 0 <= stored <= 255:
        return f"the pixel value {value!r} of label {key} is not a whole number from 0 to 255"
    if stored == IGNORED and label != IGNORED:
        return f"label {key} has the pixel value 255, which is always ignored; store another value in the masks"
    return None


def _number(value: object) -> int | None:
    """A whole number, or a string of one."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    return None


class SemanticSegmentation:
    """`SPLIT/*.jpg` and `SPLIT_annotation/*.png`; `label_map` maps pixel values to labels. 255 is ignored.

    The data are recognised by their label map. Without one they look like any images with masks:
    `needs_label_map=False` is for users who request the built-in's rules by name.
    """

    name = "semantic_segmentation"
    task: Task = "segmentation"
    title = "the channels of the built-in Semantic Segmentation"

    def __init__(self, *, needs_label_map: bool = True) -> None:
        self._needs_label_map = needs_label_map
        self.example = "train/1.jpg, …  train_annotation/1.png, …  validation/, validation_annotation/" + (
            "\nlabel_map/train_label_map.json, validation_label_map.json" if needs_label_map else ""
        )

    def matches(self, inputs: Inputs) -> bool:
        has_masks = inputs.first.masks is not None or has_inner_masks(inputs.first.images)
        return has_masks and (not self._needs_label_map or bool(_label_map_files(inputs, inputs.first)))

    def read(self, inputs: Inputs, options: DataOptions, classes: Sequence[ClassInfo] = ()) -> ParsedDataset:
        samples = {}
        label_maps: list[LabelMap] = []
        for name, split in inputs.splits.items():
            path = _choose_file(_label_map_files(inputs, split), split)
            label_map = read_label_map(path) if path else None
            label_maps += [label_map] if label_map else []
            mask_map = _mask_map(label_map, options.ignore_index)
            pairs = pair(*folders_of(split), skip=options.skips)
            samples[name] = tuple(replace(sample, mask_map=mask_map) for sample in pairs)
        ignored = IGNORED if options.ignore_index is None else options.ignore_index
        return ParsedDataset(samples, _classes(label_maps, options), ignored)


def _label_map_files(inputs: Inputs, split: Split) -> list[Path]:
    """The JSON files in channels of label maps, and in such folders beside those of the splits."""
    folders = [folder for name, folder in inputs.extras.items() if is_label_map(name)]
    folders += [folder for folder in (split.parent.folders if split.parent else ()) if is_label_map(folder.name)]
    return [folder.path / name for folder in folders for name in folder.files if name.lower().endswith(".json")]


def _choose_file(files: Sequence[Path], split: Split) -> Path | None:
    """The label map of a split: the one with the split's name in its path; a single one is for all splits."""
    if len(files) < 2:
        return next(iter(files), None)
    names = {split.name, split.images.name.lower()}  # a folder that is evaluated alone may have another split's name
    own = [path for path in files if any(name in f"{path.parent.name}/{path.name}".lower() for name in names)]
    if len(own) != 1:
        listed = ", ".join(map(str, files))
        raise DataError(
            f"which label map is for {split.name}? Give one file for all splits, or {split.name}_label_map.json beside "
            f"the others; found: {listed}"
        )
    return own[0]


def _mask_map(label_map: LabelMap | None, ignored_label: int | None) -> MaskMap | None:
    """Pixel value → label. If `ignore_index` names an ignored label, 255 becomes that label."""
    if label_map is None and ignored_label is None:
        return None
    values = label_map.values if label_map else {stored: stored for stored in range(256)}
    ignored = IGNORED if ignored_label is None else ignored_label
    pairs = tuple((stored, ignored if label == IGNORED else label) for stored, label in sorted(values.items()))
    return MaskMap(str(label_map.path), pairs, INVERTED) if label_map else MaskMap("ignore_index", pairs)


def _classes(label_maps: Sequence[LabelMap], options: DataOptions) -> tuple[ClassInfo, ...]:
    """The classes by training label; empty if neither `num_classes` nor a map defines them: then the masks do."""
    named = sorted({label for label_map in label_maps for label in label_map.labels or ()})
    if options.num_classes is not None:
        for label_map in label_maps:
            if beyond := [label for label in label_map.labels or () if label >= options.num_classes]:
                raise DataError(
                    f"{label_map.path}: map has the labels {', '.join(map(str, beyond))}, but num_classes is "
                    f"{options.num_classes}, so labels are 0–{options.num_classes - 1}; {DIRECTION}"
                )
        named = list(range(options.num_classes))
    elif any(label_map.labels is None for label_map in label_maps):
        return ()
    return tuple(ClassInfo(f"class_{label}", label) for label in named if label != options.ignore_index)
