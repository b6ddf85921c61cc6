"""JSON Schema of hyperparameters.json, for editors, forms and pipelines that check a file before a job is started.

Draft 2020-12. A value may be of JSON's own type, or the string that SageMaker makes of it, as "0.001" or "true". A job
decides: it also takes rarer spellings ("1e3" epochs, "AdamW"), and rejects what no schema can express, such as an
unknown model, or `freeze_epochs` above `epochs`.
"""

from __future__ import annotations

from typing import Any

from pydantic.fields import FieldInfo

from byoc_vision.hyperparameters import Hyperparameters, aliases
from byoc_vision.hyperparameters.builtin import RESNET_DEPTHS, RETIRED, TRANSLATED
from byoc_vision.hyperparameters.fields import LEAST_SIDE, MOST_SIDE
from byoc_vision.hyperparameters.value_types import (
    SWITCH,
    Names,
    Number,
    Numbers,
    Spelled,
    Text,
    ValueType,
    value_types,
)

Json = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_NOTHING = {"enum": [None, "", "None", "null"]}  # the default, as clients write it
_TRUTHS = {"enum": [True, False, "true", "false", "True", "False", 0, 1, "0", "1"]}

# Numbers as strings; the patterns express the bounds 0, 1, 2 and 8.
_ANY = r"([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?"
_POSITIVE = r"(0*[1-9][0-9]*(\.[0-9]*)?|0*\.0*[1-9][0-9]*)([eE][-+]?[0-9]+)?"
_FRACTION = r"0+(\.[0-9]*)?|0*\.[0-9]+|[0-9](\.[0-9]*)?[eE]-0*[1-9][0-9]*"
_POSITIVE_FRACTION = r"0*\.0*[1-9][0-9]*|[1-9](\.[0-9]*)?[eE]-0*[1-9][0-9]*"
_ONE_AT_THE_MOST = rf"{_POSITIVE_FRACTION}|0*1(\.0*)?"
_WHOLE = "[0-9]+"
_POSITIVE_WHOLE = "0*[1-9][0-9]*"
_TWO_OR_MORE = "0*([2-9]|[1-9][0-9]+)"
_EIGHT_OR_MORE = "0*([89]|[1-9][0-9]+)"
_LEAST: dict[float, str] = {2: _TWO_OR_MORE, LEAST_SIDE: _EIGHT_OR_MORE}
_START, _END = r"^\s*\+?(", r")\s*$"

_BUILT_IN: dict[str, list[Json]] = {
    "num_layers": [{"enum": [*RESNET_DEPTHS, *map(str, RESNET_DEPTHS)]}],
    "image_shape": [
        {"type": "string", "pattern": rf"^\s*[13](\s*,\s*({_EIGHT_OR_MORE})){{2}}\s*$"},
        {"type": "array", "minItems": 3, "maxItems": 3},
    ],
    "use_weighted_loss": [_TRUTHS],
}
"""Values of the built-in algorithms' own names; `resize` is also ours, and may be a number."""


def hyperparameters_schema() -> Json:
    """The schema of an object with any of the names that `parse` knows, with their meanings and defaults."""
    properties = {name: _property(name, field) for name, field in Hyperparameters.model_fields.items()}
    properties["resize"]["anyOf"].append(_number(Number(whole=True, least=LEAST_SIDE, most=MOST_SIDE)))
    own = {name: _same_as(field) for name, field in aliases().items() if name != field}
    built_in = {name: _of_built_in(name) for name in sorted(TRANSLATED - {"resize"})}
    retired = {
        name: {"description": f"No longer means anything: {why}.", "deprecated": True} for name, why in RETIRED.items()
    }
    return {
        "$schema": DIALECT,
        "title": "byoc-vision's hyperparameters.json",
        "type": "object",
        "properties": properties | own | built_in | retired,
        "patternProperties": {"^(_tuning_|sagemaker_)": {"description": "What a client adds for itself."}},
        "additionalProperties": False,
    }


def _same_as(field: str) -> Json:
    return {"description": f"Another name of `{field}`.", "$ref": f"#/properties/{field}"}


def _of_built_in(name: str) -> Json:
    meaning = "As SageMaker's built-in Image Classification has it."
    return {"description": meaning, "anyOf": [*_BUILT_IN[name], _NOTHING]}


def _property(name: str, field: FieldInfo) -> Json:
    schemas = [*(schema for kind in value_types(field) for schema in _schemas(kind)), _NOTHING]
    if name == "objective":
        schemas.append({"type": "string", "pattern": f"^validation:({'|'.join(schemas[0]['enum'])})$"})
    default = field.default if not isinstance(field.default, tuple) else list(field.default)
    return {"description": field.description, "default": default, "anyOf": schemas}


def _schemas(kind: ValueType) -> list[Json]:
    """The JSON Schemas of a type of value."""
    match kind:
        case Number():
            return [_number(kind)]
        case Numbers(item, any_length):
            return _lists(item, any_length)
        case Names(values):
            return [_TRUTHS] if kind == SWITCH else [{"enum": list(values)}]
        case Text(validated):
            return [{"type": ["string", "object"]}] if validated else [{"type": ["string", "number"]}]
        case Spelled(_, pattern) if pattern:
            return [{"type": "string", "pattern": pattern}]
    # Spelled: steps, as "10:20"
    pattern = rf"^\s*({_POSITIVE_WHOLE})\s*:\s*({_POSITIVE_WHOLE})\s*$"
    return [{"type": "string", "pattern": pattern}, {"type": "array", "minItems": 2, "maxItems": 2}]


def _lists(item: Number, any_length: bool) -> list[Json]:
    """Height and width, or one number for both; whole numbers; a weight for each class."""
    schema = _number(item)
    single = schema["anyOf"][0]
    if not any_length:
        return [single, *_several(schema, 1, 2), {"type": "string", "pattern": _times(schema)}]
    if not item.whole:
        return _several(schema, 2)
    return [single, *_several(schema, 1), {"enum": ["[]"]}, {"type": "array", "maxItems": 0}]


def _times(item: Json) -> str:
    """The pattern of `320x480`."""
    digits = item["anyOf"][1]["pattern"].removeprefix(_START).removesuffix(_END)
    return rf"^\s*({digits})\s*[x×X]\s*({digits})\s*$"


def _several(item: Json, fewest: int, most: int | None = None) -> list[Json]:
    """From `fewest` to `most` items as a list, as "10, 20", or as "[10, 20]"."""
    digits = item["anyOf"][1]["pattern"].removeprefix(_START).removesuffix(_END)
    others = f"{{{fewest - 1},{most - 1 if most else ''}}}"
    listed = rf"({digits})((\s*,\s*|\s+)({digits})){others}"
    array = {"type": "array", "items": item, "minItems": fewest} | ({"maxItems": most} if most else {})
    return [array, {"type": "string", "pattern": rf"^\s*({listed}|\[\s*{listed}\s*\])\s*$"}]


def _number(kind: Number) -> Json:
    """A number within bounds, or a string of one."""
    limits = {
        "exclusiveMinimum": kind.above,
        "minimum": kind.least,
        "exclusiveMaximum": kind.below,
        "maximum": kind.most,
    }
    number: Json = {"type": "integer" if kind.whole else "number"}
    number |= {name: limit for name, limit in limits.items() if limit is not None}
    positive = kind.above == 0
    if kind.whole:
        digits = _LEAST.get(kind.least or 0, _POSITIVE_WHOLE if positive else _WHOLE)
    elif kind.below == 1:
        digits = _POSITIVE_FRACTION if positive else _FRACTION
    else:
        digits = _ONE_AT_THE_MOST if kind.most == 1 else _POSITIVE if positive else _ANY
    return {"anyOf": [number, {"type": "string", "pattern": f"{_START}{digits}{_END}"}]}
