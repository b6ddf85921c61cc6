"""From answers to the bytes of a response."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from byoc_serve import npy
from byoc_serve.negotiation import Form
from byoc_vision.errors import RequestError
from byoc_vision.inference.encoding import DECIMALS, class_entries, encode_png, encode_rles
from byoc_vision.inference.predictor import Classification, Segmentation

Answer = Segmentation | Classification

MAX_PROBABILITIES = 2**28  # bytes
_to_json = json.JSONEncoder(allow_nan=False).encode  # JSON knows no NaN: a model that answers it is broken


def check_count(form: Form, count: int) -> None:
    """Raises RequestError 406 where this many answers do not fit into the form."""
    if form is Form.PNG and count != 1:
        raise RequestError(406, f"{count} masks do not fit into one image/png; accept application/json")


def render(answers: Iterable[Answer], form: Form, several: bool) -> bytes:
    """The response's body. `several` makes it a list, however long.

    Raises RequestError: 406 where answers do not fit together, 413 where they grow too large.
    """
    if form is Form.PNG:
        (mask,) = (answer.mask for answer in answers if isinstance(answer, Segmentation))
        return encode_png(mask)
    if form is Form.NPY:
        return _arrays(answers, several)
    texts = [_to_json(_plain(answer, form)) for answer in answers]
    if form is Form.JSON_LINES:
        return "".join(text + "\n" for text in texts).encode()
    return (f"[{', '.join(texts)}]" if several else texts[0]).encode()


def _plain(answer: Answer, form: Form) -> dict[str, Any] | list[Any]:
    """An answer as JSON has it."""
    if isinstance(answer, Segmentation):
        return _plain_mask(answer)
    if form is Form.JSON:
        return class_entries(answer)
    vector = [round(score, DECIMALS) for score in answer.probabilities.tolist()]
    # In lines as SageMaker's built-in Image Classification answers.
    return {"prediction": vector} if form is Form.JSON_LINES else vector


def _plain_mask(answer: Segmentation) -> dict[str, Any]:
    count = len(answer.classes)
    shares = np.bincount(answer.labels.reshape(-1), minlength=count) / answer.labels.size
    rles = encode_rles(answer.labels, count)
    return {
        "size": list(answer.labels.shape),
        "classes": [
            {"label": entry.name, "value": entry.value, "share": round(share, DECIMALS), "rle": rle}
            for entry, share, rle in zip(answer.classes, shares.tolist(), rles, strict=True)
        ],
    }


def _arrays(answers: Iterable[Answer], several: bool) -> bytes:
    arrays = list(_probabilities(answers))
    if not several:
        return npy.dump(arrays[0])
    if len({array.shape for array in arrays}) > 1:
        raise RequestError(406, "pictures of different sizes have no common array; send them one by one")
    return npy.dump(np.stack(arrays))


def _probabilities(answers: Iterable[Answer]) -> Iterator[np.ndarray]:
    """Each answer's probabilities, float32, as long as they do not grow beyond measure."""
    size = 0
    for answer in answers:
        if isinstance(answer, Segmentation):
            size += answer.labels.size * len(answer.classes) * np.dtype(np.float32).itemsize
        if size > MAX_PROBABILITIES:
            raise RequestError(
                413, f"the probabilities take over {MAX_PROBABILITIES:,} bytes; send less, or accept another form"
            )
        yield answer.probabilities
