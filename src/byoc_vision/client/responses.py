"""Responses of a server, read: masks, classes, probabilities and errors.

The readers also take what a batch transform or an asynchronous endpoint wrote to S3.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

_MOST_SHOWN = 100  # bytes of an unexpected response
_MOST_OF_ERROR = 300  # characters of another server's error


class PredictionError(Exception):
    """An image without a prediction.

    message: the server's own. status: of HTTP; None without a response. id: of the request, as in the server's log.
    temporary: whether the same request may succeed later. retry_after: seconds, if the server says.
    """

    def __init__(
        self,
        message: str,
        status: int | None = None,
        id: str | None = None,
        temporary: bool = False,
        retry_after: float | None = None,
    ) -> None:
        text = message if status is None else f"{status}: {message}"
        super().__init__(text if id is None else f"{text} (id {id})")
        self.message = message
        self.status = status
        self.id = id
        self.temporary = temporary
        self.retry_after = retry_after


def error_of(status: int, body: bytes | str, headers: Mapping[str, str] | None = None) -> PredictionError:
    """The error in a response of this status, as this image's server writes it, or another's text.

    headers: with names in lower case.
    """
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    headers = headers or {}
    document = _json_object(text)
    message = str(document["error"]) if "error" in document else " ".join(text.split())[:_MOST_OF_ERROR]
    return PredictionError(
        message or "the server gave no reason",
        status,
        str(document["id"]) if "id" in document else headers.get("x-request-id"),
        temporary=status in (429, 503, 504),
        retry_after=_seconds(headers.get("retry-after")),
    )


def read_mask(body: bytes) -> Image.Image:
    """A mask from PNG, pixel values as in training. Raises PredictionError for other content."""
    try:
        image = Image.open(io.BytesIO(body))
        image.load()
    except (OSError, SyntaxError, ValueError) as error:
        raise _unexpected(body, "a mask (image/png)") from error
    return image


def read_classes(body: bytes, only_present: bool = False) -> list[tuple[str, float]]:
    """Names and probabilities, best first, from JSON. Raises PredictionError for other content.

    only_present: if an image may have several classes, those that it has.
    """
    try:
        entries = json.loads(body)
        return [
            (str(entry["label"]), float(entry["score"]))
            for entry in entries
            if not only_present or entry.get("present", True)
        ]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _unexpected(body, "classes (application/json)") from error


def read_probabilities(body: bytes) -> np.ndarray:
    """An array from a .npy file: float32 [K], or [K, H, W]. Raises PredictionError for other content."""
    try:
        array: np.ndarray = np.load(io.BytesIO(body), allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _unexpected(body, "probabilities (application/x-npy)") from error
    return array


def resized(probabilities: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """[K, H, W] at another size, (width, height)."""
    planes = (Image.fromarray(plane).resize(size, Image.Resampling.BILINEAR) for plane in probabilities)
    return np.stack([np.asarray(plane) for plane in planes])


def _unexpected(body: bytes, expected: str) -> PredictionError:
    """If the response is an error, that error; else the model may be for another task."""
    document = _json_object(body)
    if "error" in document:
        return PredictionError(str(document["error"]), id=document.get("id"))
    shown = body[:_MOST_SHOWN].decode("utf-8", "replace")
    return PredictionError(f"the response is not {expected}, but begins {shown!r}; is the model for another task?")


def _json_object(text: str | bytes) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _seconds(text: str | None) -> float | None:
    """Retry-After in seconds; its other form, a date, is ignored, and the usual pause applies."""
    return float(text) if text is not None and text.isascii() and text.isdigit() else None
