"""A request as every way to a model sends it, and where that way leads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypedDict

Ask = Callable[["Request"], bytes]


@dataclass(frozen=True)
class Request:
    """body: a picture file. accept: the form of the answer. options: as docs/http.md lists them, in text."""

    body: bytes
    accept: str
    options: dict[str, str] = field(default_factory=dict)


class Where(TypedDict, total=False):
    """What else a model is found by, and how long to wait for it.

    target_model: the archive behind a multi-model endpoint, as `cars.tar.gz`. target_variant, inference_component: of
    an endpoint that has several. region: of AWS. session: boto3's, or the SDK's. client: boto3's `sagemaker-runtime`
    client; one for many pictures saves making one for each. timeout: seconds for an attempt (70; SageMaker itself gives
    up after 60). limit_mb: the largest request (25 for an endpoint, none for a URL; a serverless endpoint takes 4).
    """

    target_model: str
    target_variant: str
    inference_component: str
    region: str
    session: Any
    client: Any
    timeout: float
    limit_mb: float


TIMEOUT = 70.0  # seconds
