"""JSON Schema of hyperparameters.json, for editors, forms and pipelines that check a file before a job is started.

Draft 2020-12. A value may be of JSON's own type, or the string that SageMaker makes of it, as "0.001" or "true". A job
is the judge: it also takes rarer spellings ("1e3" epochs, "AdamW"), and refuses what no schema says, such as a name
that is no model's, or `freeze_epochs` above `epochs`.
"""

from __future__ import annotations

import types
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo

from byoc_vision.hyperparameters import Hyperparameters, aliases
from byoc_vision.hyperparameters.builtin import RESNET_DEPTHS, RETIRED, TRANSLATED
from byoc_vision.hyperparameters.fields import Spelling

Json = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_NOTHING = {"enum": [None, "", "None", "null"]}  # means the default, as clients write it
_TRUTHS = {"enum": [True, False, "true", "false", "True", "False", 0, 1, "0", "1"]}

# Of numbers as strings the patterns hold the bounds 0, 1 and 2.
_ANY = r"([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?"
_POSITIVE = r"(0*[1-9][0-9]*(\.[0-9]*)?|0*\.0*[1-9][0-9]*)([eE][-+]?[0-9]+)?"
_FRACTION = r"0+(\.[0-9]*)?|0*\.[0-9]+|[0-9](\.[0-9]*)?[eE]-0*[1-9][0-9]*"
_POSITIVE_FRACTION = r"0*\.0*[1-9][0-9]*|[1-9](\.[0-9]*)?[eE]-0*[1-9][0-9]*"
_ONE_AT_THE_MOST = rf"{_POSITIVE_FRACTION}|0*1(\.0*)?"
_WHOLE = "[0-9]+"
_POSITIVE_WHOLE = "0*[1-9][0-9]*"
_TWO_OR_MORE = "0*([2-9]|[1-9][0-9]+)"
_START, _END = r"^\s*\+?(", r")\s*$"

_BUILT_IN: dict[str, list[Json]] = {
    "num_layers": [{"enum": [*RESNET_DEPTHS, *map(str, RESNET_DEPTHS)]}],
    "image_shape": [
        {"type": "string", "pattern": rf"^\s*[13](\s*,\s*({_POSITIVE_WHOLE})){{2}}\s*$"},
        {"type": "array", "minItems": 3, "maxItems": 3},
    ],
    "use_weighted_loss": [_TRUTHS],
}
"""What the built-in algorithms' own names may be; `resize` is ours, too, and may be a number."""


def hyperparameters_schema() -> Json:
    """The schema of an object with any of the names that `parse` knows; each with what it means and its default."""
    properties = {name: _property(name, field) for name, field in Hyperparameters.model_fields.items()}
    properties["resize"]["anyOf"].append(_number(whole=True, above=0))
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
    kinds = [*_kinds(field.annotation, list(field.metadata)), _NOTHING]
    if name == "objective":
        kinds.append({"type": "string", "pattern": f"^validation:({'|'.join(kinds[0]['enum'])})$"})
    default = field.default if not isinstance(field.default, tuple) else list(field.default)
    return {"description": field.description, "default": default, "anyOf": kinds}


def _kinds(annotation: Any, metadata: list[Any]) -> list[Json]:
    """A schema for each kind of value that a type takes."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is bool:
        return [_TRUTHS]
    if annotation in (int, float):
        return [_number(whole=annotation is int, **_bounds(metadata))]
    if annotation is str:
        return [{"type": ["string", "number"]}] if not metadata else [{"type": ["string", "object"]}]
    if origin is Literal:
        return [{"enum": list(arguments)}]
    if origin in (Union, types.UnionType):
        return [kind for argument in arguments if argument is not type(None) for kind in _kinds(argument, [])]
    if origin is tuple:
        return _listed(arguments)
    # Annotated: the type, then what is said of it.
    said = [item for argument in arguments[1:] for item in getattr(argument, "metadata", [argument])]
    if any(isinstance(item, Spelling) for item in said):
        pattern = rf"^\s*({_POSITIVE_WHOLE})\s*:\s*({_POSITIVE_WHOLE})\s*$"
        return [{"type": "string", "pattern": pattern}, {"type": "array", "minItems": 2, "maxItems": 2}]
    return _kinds(arguments[0], [*said, *metadata])


def _listed(arguments: tuple[Any, ...]) -> list[Json]:
    """What a tuple may be: height and width, or one number for both; whole numbers; a weight for each class."""
    (item,) = _kinds(arguments[0], [])
    if Ellipsis not in arguments:
        return [item["anyOf"][0], *_several(item, 1, 2)]
    if item["anyOf"][0]["type"] == "number":
        return _several(item, 2)
    return [item["anyOf"][0], *_several(item, 1), {"enum": ["[]"]}, {"type": "array", "maxItems": 0}]


def _several(item: Json, fewest: int, most: int | None = None) -> list[Json]:
    """So many of them as a list, as "10, 20", or as "[10, 20]"."""
    digits = item["anyOf"][1]["pattern"].removeprefix(_START).removesuffix(_END)
    others = f"{{{fewest - 1},{most - 1 if most else ''}}}"
    listed = rf"({digits})((\s*,\s*|\s+)({digits})){others}"
    array = {"type": "array", "items": item, "minItems": fewest} | ({"maxItems": most} if most else {})
    return [array, {"type": "string", "pattern": rf"^\s*({listed}|\[\s*{listed}\s*\])\s*$"}]


def _bounds(metadata: list[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in metadata:
        match item:
            case annotated_types.Gt(gt=bound):
                found["above"] = bound
            case annotated_types.Ge(ge=bound):
                found["least"] = bound
            case annotated_types.Lt(lt=bound):
                found["below"] = bound
            case annotated_types.Le(le=bound):
                found["most"] = bound
    return found


def _number(
    *, whole: bool, above: float | None = None, least: float | None = None, below: float | None = None,
    most: float | None = None,
) -> Json:  # fmt: skip
    """A number within bounds, or a string of one."""
    limits = {"exclusiveMinimum": above, "minimum": least, "exclusiveMaximum": below, "maximum": most}
    number = {"type": "integer" if whole else "number"} | {name: it for name, it in limits.items() if it is not None}
    if whole:
        digits = _TWO_OR_MORE if least == 2 else _POSITIVE_WHOLE if above == 0 else _WHOLE
    elif below == 1:
        digits = _POSITIVE_FRACTION if above == 0 else _FRACTION
    else:
        digits = _ONE_AT_THE_MOST if most == 1 else _POSITIVE if above == 0 else _ANY
    return {"anyOf": [number, {"type": "string", "pattern": f"{_START}{digits}{_END}"}]}
