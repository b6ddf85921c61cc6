"""The documentation of the hyperparameters, made from their model."""

from __future__ import annotations

import types
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo

from byoc_vision.hyperparameters.fields import Spelling
from byoc_vision.hyperparameters.model import Hyperparameters
from byoc_vision.hyperparameters.reading import aliases

_KINDS = {int: "whole number", float: "number", bool: "true, false", str: "text"}


def hyperparameters_table() -> str:
    """A Markdown table: name, default, values, meaning, and other names."""
    other_names: dict[str, list[str]] = {}
    for alias, name in aliases().items():
        if alias != name:
            other_names.setdefault(name, []).append(alias)
    rows = ["| name | default | values | meaning |", "| --- | --- | --- | --- |"]
    for name, field in Hyperparameters.model_fields.items():
        meaning = (field.description or "").replace("|", "\\|")
        if name in other_names:
            meaning += " Also: " + ", ".join(f"`{alias}`" for alias in other_names[name]) + "."
        rows.append(f"| `{name}` | {_default(field)} | {_values(field)} | {meaning} |")
    return "\n".join(rows)


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is None or value == ():
        return "–"
    text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return f"`{text.lower() if isinstance(value, bool) else text}`"


def _values(field: FieldInfo) -> str:
    return ", ".join(dict.fromkeys([*_describe(field.annotation), *_bounds(field.metadata)]))


def _describe(annotation: Any) -> list[str]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is type(None):
        return []
    if annotation in _KINDS:
        return [_KINDS[annotation]]
    if origin is Literal:
        return [f"`{value}`" for value in arguments]
    if origin in (Union, types.UnionType):
        return [text for argument in arguments for text in _describe(argument)]
    if origin is tuple:
        return ["list of whole numbers" if Ellipsis in arguments else "one or two whole numbers"]
    # Annotated: the type, then its bounds.
    if spelt := [item.text for item in arguments[1:] if isinstance(item, Spelling)]:
        return spelt
    bounds = [item for argument in arguments[1:] for item in getattr(argument, "metadata", [argument])]
    return [*_describe(arguments[0]), *_bounds(bounds)]


def _bounds(metadata: list[Any]) -> list[str]:
    texts = []
    for item in metadata:
        match item:
            case annotated_types.Gt(gt=bound):
                texts.append(f"> {bound:,}")
            case annotated_types.Ge(ge=bound):
                texts.append(f"≥ {bound:,}")
            case annotated_types.Lt(lt=bound):
                texts.append(f"< {bound:,}")
            case annotated_types.Le(le=bound):
                texts.append(f"≤ {bound:,}")
    return texts
