"""Nested Python values as JSON and tensors, and back exactly. No pickle: reading runs no code of the writer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def pack(value: Any, tensors: dict[str, Tensor], name: str = "") -> Any:
    """`value` as JSON; its tensors go into `tensors`, contiguous, under the path that leads to them.

    Dictionaries (with keys of any plain type), lists, tuples, numbers, strings and None come back as they were.
    """
    if isinstance(value, Tensor):
        tensors[name] = value.detach().contiguous()
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[key, pack(item, tensors, f"{name}.{key}".lstrip("."))] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        items = [pack(item, tensors, f"{name}.{index}") for index, item in enumerate(value)]
        return {"tuple" if isinstance(value, tuple) else "list": items}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{name}: a {type(value).__name__} cannot be stored")


def unpack(packed: Any, tensors: dict[str, Tensor]) -> Any:
    """The value that `pack` took apart."""
    if not isinstance(packed, dict):
        return packed
    ((kind, content),) = packed.items()
    match kind:
        case "tensor":
            return tensors[content]
        case "dict":
            return {key: unpack(item, tensors) for key, item in content}
        case "tuple":
            return tuple(unpack(item, tensors) for item in content)
        case "list":
            return [unpack(item, tensors) for item in content]
    raise ValueError(f"{kind} is no kind of value")


def on_cpu(value: Any) -> Any:
    """A copy of `value` whose tensors lie in main memory and share nothing with the original."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
    if isinstance(value, dict):
        return {key: on_cpu(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(on_cpu(item) for item in value)
    return value
