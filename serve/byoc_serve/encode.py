"""From predictions to the bytes of a response, in the format that the client accepts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from byoc_serve import npy, protobuf
from byoc_serve.response_format import ARRAYS, IMAGES, TEXTS, ResponseFormat
from byoc_vision.artifact import ModelConfig
from byoc_vision.errors import RequestError
from byoc_vision.inference.encoding import (
    DECIMALS,
    class_entries,
    class_shares,
    encode_png,
    encode_rgb_png,
    encode_rles,
)
from byoc_vision.inference.overlay import background_classes, draw_overlay, mask_palette
from byoc_vision.inference.predictor import Classification, Prediction, Segmentation

MAX_BODY = 2**28  # bytes, of probabilities or of text
# An overlay is the image, its labels, the drawing, the same as OpenCV writes it, and its PNG: 15 bytes a pixel.
_OVERLAY_BYTES = 15
MAX_OVERLAY_BYTES = 2**30
MAX_OVERLAY_PIXELS = MAX_OVERLAY_BYTES // _OVERLAY_BYTES
# Logits in the image's size, those of the best class so far, labels, and the mask with its encoding.
_MASK_BYTES, _MASK_BYTES_OF_MANY_CLASSES = 8, 12
_PROBABILITY_BYTES = 20  # for each class: float32, and the copies of it that are made on the way

Piece = bytes | str | np.ndarray  # one encoded prediction, to be joined with others

_to_json = json.JSONEncoder(allow_nan=False).encode  # JSON has no NaN: a model that predicts it is broken


def check_count(response_format: ResponseFormat, count: int) -> None:
    """Raises RequestError 406 if this many predictions do not fit into the format."""
    if response_format in IMAGES and count != 1:
        raise RequestError(406, f"{count} masks do not fit into one {response_format.value}; accept application/json")


def bytes_per_pixel(config: ModelConfig, response_format: ResponseFormat) -> int:
    """The most memory that the prediction of an image and its encoding take, for each pixel of the image."""
    if config.task != "segmentation":
        return 0
    if response_format is ResponseFormat.OVERLAY:
        return _OVERLAY_BYTES
    if response_format in ARRAYS:
        return _PROBABILITY_BYTES * len(config.classes)
    return _MASK_BYTES if config.model.outputs == 1 else _MASK_BYTES_OF_MANY_CLASSES


class Encoder:
    """The predictions of one request, encoded.

    palette: whether a mask's PNG has a colour for each class.
    """

    def __init__(self, response_format: ResponseFormat, palette: bool = False) -> None:
        self._format = response_format
        self._palette = palette
        self._room = MAX_BODY

    def reserve(self, planes: int, height: int, width: int) -> None:
        """Count the probabilities of one more mask, [planes, height, width].

        Raises RequestError 413 if the format holds probabilities and they grow too large.
        """
        if self._format in ARRAYS:
            self._room -= planes * height * width * np.dtype(np.float32).itemsize
        if self._room < 0:
            raise RequestError(
                413, f"the probabilities take over {MAX_BODY:,} bytes; send less, or accept another format"
            )

    def encode(self, prediction: Prediction, rgb: np.ndarray | None = None) -> Piece:
        """One prediction. rgb: its image, for an overlay."""
        if self._format is ResponseFormat.NPY:
            return prediction.probabilities
        if isinstance(prediction, Segmentation):
            return self._mask(prediction, rgb)
        if self._format in ARRAYS:
            return protobuf.class_record(prediction.probabilities, exclusive=prediction.threshold is None)
        return _to_json(_plain_classes(prediction, self._format))

    def encode_error(self, error: RequestError) -> Piece:
        """What stands in the place of an image without a prediction; for formats that are text."""
        assert self._format in TEXTS
        return _to_json({"error": error.message})

    def join(self, pieces: Iterable[Piece], several: bool) -> bytes:
        """The response's body. `several` makes it a list, however long.

        Raises RequestError: 406 if predictions do not fit together, 413 if texts grow too large.
        """
        if self._format is ResponseFormat.NPY:
            return _join_arrays([piece for piece in pieces if isinstance(piece, np.ndarray)], several)
        if self._format not in TEXTS:
            return b"".join(piece for piece in pieces if isinstance(piece, bytes))
        texts = list(_limited(piece.encode() for piece in pieces if isinstance(piece, str)))
        if self._format is ResponseFormat.JSON_LINES:
            return b"\n".join([*texts, b""])
        return b"".join((b"[", b", ".join(texts), b"]")) if several else texts[0]

    def _mask(self, prediction: Segmentation, rgb: np.ndarray | None) -> Piece:
        if self._format is ResponseFormat.PNG:
            return encode_png(prediction.mask, mask_palette(prediction.classes) if self._palette else None)
        if self._format is ResponseFormat.OVERLAY:
            assert rgb is not None, "an overlay is drawn over an image"
            return encode_rgb_png(draw_overlay(rgb, prediction.labels, background_classes(prediction.classes)))
        if self._format in ARRAYS:
            return protobuf.mask_record(prediction.probabilities)
        return _to_json(_plain_mask(prediction))


def _limited(texts: Iterable[bytes]) -> Iterator[bytes]:
    """Raises RequestError 413 as soon as the texts are too large together."""
    room = MAX_BODY
    for text in texts:
        room -= len(text)
        if room < 0:
            raise RequestError(413, f"the predictions take over {MAX_BODY:,} bytes; send fewer images at once")
        yield text


def _plain_classes(prediction: Classification, response_format: ResponseFormat) -> dict[str, Any] | list[Any]:
    """A prediction as JSON."""
    if response_format is ResponseFormat.JSON:
        return class_entries(prediction)
    vector = [round(score, DECIMALS) for score in prediction.probabilities.tolist()]
    # JSON Lines as SageMaker's built-in Image Classification writes them.
    return {"prediction": vector} if response_format is ResponseFormat.JSON_LINES else vector


def _plain_mask(prediction: Segmentation) -> dict[str, Any]:
    count = len(prediction.classes)
    shares = class_shares(prediction.labels, count)
    rles = encode_rles(prediction.labels, count)
    return {
        "size": list(prediction.labels.shape),
        "classes": [
            {"label": entry.name, "value": entry.value, "share": share, "rle": rle}
            for entry, share, rle in zip(prediction.classes, shares, rles, strict=True)
        ],
    }


def _join_arrays(arrays: list[np.ndarray], several: bool) -> bytes:
    if not several:
        return npy.dump(arrays[0])
    if len({array.shape for array in arrays}) > 1:
        raise RequestError(406, "images of different sizes have no common array; send them one by one")
    return npy.dump(np.stack(arrays))
