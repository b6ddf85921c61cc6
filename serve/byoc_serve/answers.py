"""From answers to the bytes of a response."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from byoc_serve import npy, protobuf
from byoc_serve.negotiation import ARRAYS, PICTURES, TEXTS, Form
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
from byoc_vision.inference.predictor import Answer, Classification, Segmentation

MAX_ANSWER = 2**28  # bytes, of probabilities or of text

Piece = bytes | str | np.ndarray  # an answer as its form has it, to be joined with others

_to_json = json.JSONEncoder(allow_nan=False).encode  # JSON knows no NaN: a model that answers it is broken


def check_count(form: Form, count: int) -> None:
    """Raises RequestError 406 where this many answers do not fit into the form."""
    if form in PICTURES and count != 1:
        raise RequestError(406, f"{count} masks do not fit into one {form.value}; accept application/json")


class Encoder:
    """The answers of one request in the form it wants.

    palette: whether a mask's PNG tells viewers a colour for each class.
    """

    def __init__(self, form: Form, palette: bool = False) -> None:
        self.form = form
        self._palette = palette
        self._room = MAX_ANSWER

    def admit(self, planes: int, height: int, width: int) -> None:
        """Reckon with the probabilities of one more mask, [planes, height, width].

        Raises RequestError 413 where the form holds them and they grow too large.
        """
        if self.form in ARRAYS:
            self._room -= planes * height * width * np.dtype(np.float32).itemsize
        if self._room < 0:
            raise RequestError(
                413, f"the probabilities take over {MAX_ANSWER:,} bytes; send less, or accept another form"
            )

    def encode(self, answer: Answer, rgb: np.ndarray | None = None) -> Piece:
        """One answer. rgb: its picture, for an overlay."""
        if isinstance(answer, Segmentation):
            return self._mask(answer, rgb)
        if self.form is Form.NPY:
            return answer.probabilities
        if self.form in ARRAYS:
            return protobuf.class_record(answer.probabilities, exclusive=answer.threshold is None)
        return _to_json(_plain_classes(answer, self.form))

    def encode_error(self, error: RequestError) -> Piece:
        """What stands in the place of a picture that has no answer; for forms that are text."""
        assert self.form in TEXTS
        return _to_json({"error": error.message})

    def join(self, pieces: Iterable[Piece], several: bool) -> bytes:
        """The response's body. `several` makes it a list, however long.

        Raises RequestError: 406 if answers do not fit together, 413 if texts grow too large.
        """
        if self.form is Form.NPY:
            return _join_arrays([piece for piece in pieces if isinstance(piece, np.ndarray)], several)
        if self.form not in TEXTS:
            return b"".join(piece for piece in pieces if isinstance(piece, bytes))
        texts = list(_admitted(piece.encode() for piece in pieces if isinstance(piece, str)))
        if self.form is Form.JSON_LINES:
            return b"\n".join([*texts, b""])
        return b"".join((b"[", b", ".join(texts), b"]")) if several else texts[0]

    def _mask(self, answer: Segmentation, rgb: np.ndarray | None) -> Piece:
        if self.form is Form.PNG:
            return encode_png(answer.mask, mask_palette(answer.classes) if self._palette else None)
        if self.form is Form.OVERLAY:
            assert rgb is not None, "an overlay lies over a picture"
            return encode_rgb_png(draw_overlay(rgb, answer.labels, background_classes(answer.classes)))
        if self.form in ARRAYS:
            return answer.probabilities if self.form is Form.NPY else protobuf.mask_record(answer.probabilities)
        return _to_json(_plain_mask(answer))


def _admitted(texts: Iterable[bytes]) -> Iterator[bytes]:
    """Raises RequestError 413 as soon as they are too large together."""
    room = MAX_ANSWER
    for text in texts:
        room -= len(text)
        if room < 0:
            raise RequestError(413, f"the predictions take over {MAX_ANSWER:,} bytes; send fewer images at once")
        yield text


def _plain_classes(answer: Classification, form: Form) -> dict[str, Any] | list[Any]:
    """An answer as JSON has it."""
    if form is Form.JSON:
        return class_entries(answer)
    vector = [round(score, DECIMALS) for score in answer.probabilities.tolist()]
    # In lines as SageMaker's built-in Image Classification answers.
    return {"prediction": vector} if form is Form.JSON_LINES else vector


def _plain_mask(answer: Segmentation) -> dict[str, Any]:
    count = len(answer.classes)
    shares = class_shares(answer.labels, count)
    rles = encode_rles(answer.labels, count)
    return {
        "size": list(answer.labels.shape),
        "classes": [
            {"label": entry.name, "value": entry.value, "share": share, "rle": rle}
            for entry, share, rle in zip(answer.classes, shares, rles, strict=True)
        ],
    }


def _join_arrays(arrays: list[np.ndarray], several: bool) -> bytes:
    if not several:
        return npy.dump(arrays[0])
    if len({array.shape for array in arrays}) > 1:
        raise RequestError(406, "pictures of different sizes have no common array; send them one by one")
    return npy.dump(np.stack(arrays))
