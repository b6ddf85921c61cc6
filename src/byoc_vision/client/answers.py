"""Answers as they come, read: also those that a batch transform or an asynchronous endpoint left in S3."""

from __future__ import annotations

import io
import json

import numpy as np
from PIL import Image

from byoc_vision.client.errors import PredictionError

_MOST_SHOWN = 100


def read_mask(body: bytes) -> Image.Image:
    """A mask from PNG, pixel values as in training. Raises PredictionError where it is none."""
    try:
        image = Image.open(io.BytesIO(body))
        image.load()
    except (OSError, SyntaxError, ValueError) as error:
        raise _unexpected(body, "a mask (image/png)") from error
    return image


def read_classes(body: bytes, only_present: bool = False) -> list[tuple[str, float]]:
    """Names and probabilities, best first, from JSON. Raises PredictionError where there are none.

    only_present: where a picture may have several classes, those that it has.
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
    """An array from a .npy file: float32 [K], or [K, H, W]. Raises PredictionError where it is none."""
    try:
        array: np.ndarray = np.load(io.BytesIO(body), allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _unexpected(body, "probabilities (application/x-npy)") from error
    return array


def resized(probabilities: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """[K, H, W] at another size, (width, height)."""
    planes = (Image.fromarray(plane).resize(size, Image.Resampling.BILINEAR) for plane in probabilities)
    return np.stack([np.asarray(plane) for plane in planes])


def _unexpected(body: bytes, wanted: str) -> PredictionError:
    """An error that came as an answer tells its own reason; else the model may be for another task."""
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if isinstance(document, dict) and "error" in document:
        return PredictionError(str(document["error"]), id=document.get("id"))
    shown = body[:_MOST_SHOWN].decode("utf-8", "replace")
    return PredictionError(f"the answer is not {wanted}, but begins {shown!r}; is the model of another task?")
