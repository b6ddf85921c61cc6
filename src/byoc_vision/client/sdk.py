"""What SageMaker's SDKs turn pictures into requests with, and answers into masks and classes: v2 and v3 alike.

    Predictor("cars", serializer=PictureSerializer(), deserializer=MaskDeserializer())

Neither SDK is needed to import this.
"""

from __future__ import annotations

import importlib
from typing import IO, Any

import numpy as np
from PIL import Image

from byoc_vision.client.answers import read_classes, read_mask
from byoc_vision.client.images import CONTENT_TYPE, Picture
from byoc_vision.client.payload import MB, REAL_TIME_MB, make_payload


class PictureSerializer:
    """Any form of a picture, as `predict_mask` takes it, to the bytes of a request.

    limit_mb: the largest request; a serverless endpoint takes 4.
    """

    CONTENT_TYPE = CONTENT_TYPE

    def __init__(self, limit_mb: float = REAL_TIME_MB) -> None:
        self.limit_mb = limit_mb
        _make_known(type(self), "serializers", "BaseSerializer")

    def serialize(self, data: Picture) -> bytes:
        """Raises DataError: no picture, or too large."""
        return make_payload(data, self.limit_mb * MB).body


class MaskDeserializer:
    """An answer to a mask: a PIL image, or with as_array=True uint8 [H, W]."""

    ACCEPT = ("image/png",)

    def __init__(self, as_array: bool = False) -> None:
        self.as_array = as_array
        _make_known(type(self), "deserializers", "BaseDeserializer")

    def deserialize(self, stream: IO[bytes], content_type: str | None = None) -> Image.Image | np.ndarray:
        """Raises PredictionError where the answer is no mask."""
        mask = read_mask(_content(stream))
        return np.asarray(mask) if self.as_array else mask


class ClassesDeserializer:
    """An answer to names and probabilities, best first."""

    ACCEPT = ("application/json",)

    def __init__(self) -> None:
        _make_known(type(self), "deserializers", "BaseDeserializer")

    def deserialize(self, stream: IO[bytes], content_type: str | None = None) -> list[tuple[str, float]]:
        """Raises PredictionError where the answer holds no classes."""
        return read_classes(_content(stream))


def _content(stream: IO[bytes]) -> bytes:
    try:
        return stream.read()
    finally:
        stream.close()


def _make_known(kind: type, package: str, base: str) -> None:
    """v3's endpoints take instances of v3's base classes alone; v2 asks for none."""
    try:
        module: Any = importlib.import_module(f"sagemaker.core.{package}.base")
    except ModuleNotFoundError:
        return
    getattr(module, base).register(kind)
