"""The documentation of the hyperparameters, made from their model."""

from __future__ import annotations

from pydantic.fields import FieldInfo

from byoc_vision.hyperparameters.model import Hyperparameters
from byoc_vision.hyperparameters.reading import aliases
from byoc_vision.hyperparameters.value_types import (
    SWITCH,
    Names,
    Number,
    Numbers,
    Spelled,
    ValueType,
    value_types,
)


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
    return ", ".join(dict.fromkeys(text for kind in value_types(field) for text in _describe(kind)))


def _describe(kind: ValueType) -> list[str]:
    match kind:
        case Number(whole, above, least, below, most):
            limits = {">": above, "≥": least, "<": below, "≤": most}
            bounds = [f"{sign} {bound:,}" for sign, bound in limits.items() if bound is not None]
            return ["whole number" if whole else "number", *bounds]
        case Numbers(_, any_length):
            return ["list of whole numbers" if any_length else "one or two whole numbers"]
        case Names(values):
            return ["true, false"] if kind == SWITCH else [f"`{value}`" for value in values]
        case Spelled(text, _):
            return [text]
    return ["text"]
