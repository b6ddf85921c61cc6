"""What each hyperparameter may be, read from the model's annotations: for the table, the schema and SageMaker."""

from __future__ import annotations

import types
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo

from byoc_vision.hyperparameters.fields import AnyText, Spelling


@dataclass(frozen=True)
class Number:
    """A number within bounds, or None: above and below are excluded, least and most included."""

    whole: bool
    above: float | None = None
    least: float | None = None
    below: float | None = None
    most: float | None = None


@dataclass(frozen=True)
class Numbers:
    """A list of numbers: of any length, or two, which one number stands for if they are equal."""

    item: Number
    any_length: bool


@dataclass(frozen=True)
class Names:
    """One of these names; True and False for a switch."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Text:
    """Any text. validated: with a syntax of its own."""

    validated: bool


@dataclass(frozen=True)
class Spelled:
    """Text in the form that the documentation shows, and its pattern if it has one."""

    text: str
    pattern: str = ""


ValueType = Number | Numbers | Names | Text | Spelled
SWITCH = Names((True, False))


def value_types(field: FieldInfo) -> list[ValueType]:
    """The types of value that a field takes, besides None."""
    return _of(field.annotation, field.metadata)


def _of(annotation: Any, metadata: Iterable[Any] = ()) -> list[ValueType]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is type(None):
        return []
    if annotation is bool:
        return [SWITCH]
    if annotation in (int, float):
        return [Number(annotation is int, **_bounds(metadata))]
    if annotation is str:
        found = list(metadata)
        return [Text(validated=bool(found) and not any(isinstance(item, AnyText) for item in found))]
    if origin is Literal:
        return [Names(arguments)]
    if origin in (Union, types.UnionType):
        return [kind for argument in arguments for kind in _of(argument)]
    if origin is tuple:
        (item,) = _of(arguments[0])
        assert isinstance(item, Number), "tuples hold numbers"
        return [Numbers(item, any_length=Ellipsis in arguments)]
    # Annotated: the type, then its metadata.
    added = [item for argument in arguments[1:] for item in getattr(argument, "metadata", [argument])]
    spelled: list[ValueType] = [Spelled(item.text, item.pattern) for item in added if isinstance(item, Spelling)]
    return spelled or _of(arguments[0], [*added, *metadata])


def _bounds(metadata: Iterable[Any]) -> dict[str, Any]:
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
