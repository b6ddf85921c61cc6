"""Label maps of SageMaker's built-in Semantic Segmentation: which label a pixel value is trained as.

https://docs.aws.amazon.com/sagemaker/latest/dg/semantic-segmentation.html
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from byoc_vision.data.formats.list_files import read_text
from byoc_vision.errors import DataError, list_problems

IGNORED = 255
LARGEST_LABEL = 253
DIRECTION = "its keys are the training labels, its values the pixel values"
TURNED_ROUND = f"the map seems to be turned round: {DIRECTION}"

_FORMS = '{"scale": "3"} or {"map": {"0": 0, "1": 127}}'


@dataclass(frozen=True)
class LabelMap:
    """A label map as a table.

    values: pixel value → training label; 255 stays 255, which is not counted.
    labels: those that a `map` names, in ascending order; None for a `scale`, which does not say.
    """

    path: Path
    values: dict[int, int]
    labels: tuple[int, ...] | None


class _Pairs(list[tuple[str, Any]]):
    """A JSON object with all its keys, also those given twice."""


def read_label_map(path: Path) -> LabelMap:
    """`{"scale": "3"}` (value // scale) or `{"map": {"LABEL": PIXEL_VALUE}}`; numbers may be strings.

    Raises DataError that names the file and the field.
    """
    try:
        content = json.loads(read_text(path), object_pairs_hook=_Pairs)
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}. Expected: {_FORMS}") from error
    fields = dict(content) if isinstance(content, _Pairs) else {}
    if len(fields.keys() & {"scale", "map"}) != 1:
        both = "both" if fields.keys() >= {"scale", "map"} else "neither"
        raise DataError(f"{path} holds {both} of 'scale' and 'map'; give one of them: {_FORMS}")
    return _scaled(path, fields["scale"]) if "scale" in fields else _mapped(path, fields["map"])


def _scaled(path: Path, value: object) -> LabelMap:
    scale = _number(value)
    if scale is None or not 1 <= scale < IGNORED:
        raise DataError(f"{path}: scale is {value!r}; give a whole number from 1 to 254, by which values are divided")
    return LabelMap(path, {stored: stored // scale for stored in range(IGNORED)} | {IGNORED: IGNORED}, None)


def _mapped(path: Path, value: object) -> LabelMap:
    if not isinstance(value, _Pairs) or not value:
        raise DataError(f"{path}: map must be an object of one entry or more, such as {_FORMS}")
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
        raise DataError(list_problems(f"{path}: the map does not fit; {DIRECTION}:", problems))
    pairs = [(int(stored), int(key)) for key, stored in value]
    labels = tuple(sorted({label for _, label in pairs if label != IGNORED}))
    return LabelMap(path, dict(pairs) | {IGNORED: IGNORED}, labels)


def _problem(key: str, value: object) -> str | None:
    label, stored = _number(key), _number(value)
    if label is None or not (0 <= label <= LARGEST_LABEL or label == IGNORED):
        return f"the label {key!r} is no whole number from 0 to {LARGEST_LABEL} (or 255: not counted)"
    if stored is None or not 0 <= stored <= 255:
        return f"the pixel value {value!r} of label {key} is no whole number from 0 to 255"
    if stored == IGNORED and label != IGNORED:
        return f"label {key} has the pixel value 255, which is never counted; store another value in the masks"
    return None


def _number(value: object) -> int | None:
    """A whole number, or a string of one."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    return None
