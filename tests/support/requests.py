"""Requests to AWS, checked as AWS would: all that botocore's model of an operation says of their values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from botocore.loaders import Loader
from botocore.model import ServiceModel, Shape
from botocore.validate import ParamValidator


def complaints(operation: str, request: dict[str, Any], service: str = "sagemaker") -> list[str]:
    """What is wrong with a request. botocore itself asks for no enumeration, pattern or greatest length."""
    shape = _model(service).operation_model(operation).input_shape
    report = ParamValidator().validate(request, shape).generate_report()
    return [*filter(None, [report]), *_values(shape, request, operation)]


@cache
def _model(service: str) -> ServiceModel:
    return ServiceModel(Loader().load_service_model(service, "service-2"), service)


def _values(shape: Shape, value: Any, where: str) -> Iterator[str]:
    limits = shape.metadata
    if "max" in limits and (value if isinstance(value, int | float) else len(value)) > limits["max"]:
        yield f"{where}: more than {limits['max']}"
    if limits.get("enum") and value not in limits["enum"]:
        yield f"{where}: {value} is none of the enumeration"
    pattern = limits.get("pattern", "")
    if pattern and r"\p{" not in pattern and not re.fullmatch(pattern, value):
        yield f"{where}: {value} does not match {pattern}"
    if shape.type_name == "structure":
        for name, member in value.items():
            yield from _values(shape.members[name], member, f"{where}.{name}")
    elif shape.type_name == "list":
        for index, member in enumerate(value):
            yield from _values(shape.member, member, f"{where}[{index}]")
    elif shape.type_name == "map":
        for name, member in value.items():
            yield from _values(shape.key, name, f"{where}.{name}")
            yield from _values(shape.value, member, f"{where}.{name}")
