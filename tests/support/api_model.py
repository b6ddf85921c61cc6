"""What AWS itself would refuse in a request: botocore's model has more rules than boto3 checks."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import botocore

Json = dict[str, Any]


@lru_cache
def api_of(service: str) -> Json:
    """`operations` and `shapes`."""
    (model,) = (Path(botocore.__file__).parent / f"data/{service}").glob("*/service-2.json.gz")
    return dict(json.loads(gzip.decompress(model.read_bytes())))


def problems(service: str, operation: str, request: Json) -> list[str]:
    """Missing and unknown fields, wrong values of enumerations, lengths, bounds and patterns."""
    api = api_of(service)
    return list(_problems(api["shapes"], api["operations"][operation]["input"]["shape"], request, operation))


def _problems(known: Json, name: str, value: Any, where: str) -> Iterator[str]:
    shape = known[name]
    kind = shape["type"]
    if kind == "structure":
        yield from (f"{where}: {field} is missing" for field in shape.get("required", []) if field not in value)
        for field, inner in value.items():
            if field in shape["members"]:
                yield from _problems(known, shape["members"][field]["shape"], inner, f"{where}.{field}")
            else:
                yield f"{where}: {field} is not known"
    elif kind == "list":
        yield from _out_of_bounds(shape, len(value), where)
        for index, inner in enumerate(value):
            yield from _problems(known, shape["member"]["shape"], inner, f"{where}[{index}]")
    elif kind == "map":
        yield from _out_of_bounds(shape, len(value), where)
        for key, inner in value.items():
            yield from _problems(known, shape["key"]["shape"], key, f"{where}'s {key}")
            yield from _problems(known, shape["value"]["shape"], inner, f"{where}.{key}")
    elif kind == "string":
        yield from _out_of_bounds(shape, len(value), where)
        if "enum" in shape and value not in shape["enum"]:
            yield f"{where}: {value!r} is not one of the {len(shape['enum'])} values"
        if "pattern" in shape and not re.fullmatch(_in_python(shape["pattern"]), value, re.DOTALL):
            yield f"{where}: {value!r} does not match {shape['pattern']}"
    elif kind in ("integer", "long", "float", "double"):
        yield from _out_of_bounds(shape, value, where)


def _out_of_bounds(shape: Json, size: float, where: str) -> Iterator[str]:
    if size < shape.get("min", size) or size > shape.get("max", size):
        yield f"{where}: {size} is not within {shape.get('min')} and {shape.get('max')}"


def _in_python(pattern: str) -> str:
    """Java's classes of Unicode characters, which `re` does not know."""
    return re.sub(r"\\p\{[A-Z]\}", r"\\w\\s", pattern)
