"""Serializers of images and deserializers of predictions for SageMaker's SDKs v2 and v3.

    Predictor("cars", serializer=ImageSerializer(), deserializer=MaskDeserializer())

This can be imported without either SDK.
"""

from __future__ import annotations

import importlib
from typing import IO, Any

import numpy as np
from PIL import Image

from byoc_vision.client.images import CONTENT_TYPE, MB, REAL_TIME_MB, ImageInput, make_payload
from byoc_vision.client.responses import read_classes, read_mask


class ImageSerializer:
    """Turns an image in any form that `predict_mask` takes into the bytes of a request.

    limit_mb: the largest request; a serverless endpoint takes 4.
    """

    CONTENT_TYPE = CONTENT_TYPE

    def __init__(self, limit_mb: float = REAL_TIME_MB) -> None:
        self.limit_mb = limit_mb
        _register(type(self), "serializers", "BaseSerializer")

    def serialize(self, data: ImageInput) -> bytes:
        """Raises DataError: not an image, or too large."""
        return make_payload(data, self.limit_mb * MB).body


class MaskDeserializer:
    """Turns a response into a mask: a PIL image, or with as_array=True uint8 [H, W]."""

    ACCEPT = ("image/png",)

    def __init__(self, as_array: bool = False) -> None:
        self.as_array = as_array
        _register(type(self), "deserializers", "BaseDeserializer")

    def deserialize(self, stream: IO[bytes], content_type: str | None = None) -> Image.Image | np.ndarray:
        """Raises PredictionError if the response is not a mask."""
        mask = read_mask(_content(stream))
        return np.asarray(mask) if self.as_array else mask


class ClassesDeserializer:
    """Turns a response into names and probabilities, best first."""

    ACCEPT = ("application/json",)

    def __init__(self) -> None:
        _register(type(self), "deserializers", "BaseDeserializer")

    def deserialize(self, stream: IO[bytes], content_type: str | None = None) -> list[tuple[str, float]]:
        """Raises PredictionError if the response does not hold classes."""
        return read_classes(_content(stream))


def _content(stream: IO[bytes]) -> bytes:
    try:
        return stream.read()
    finally:
        stream.close()


def _register(kind: type, package: str, base: str) -> None:
    """v3's endpoints take only instances of v3's base classes; v2 has no such check."""
    try:
        module: Any = importlib.import_module(f"sagemaker.core.{package}.base")
    except ModuleNotFoundError:
        return
    getattr(module, base).register(kind)
