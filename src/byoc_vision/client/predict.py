"""A picture's mask, classes or probabilities, in one call."""

from __future__ import annotations

import re
from typing import Any, Literal, Unpack, overload

import numpy as np
from PIL import Image

from byoc_vision.client.answers import read_classes, read_mask, read_probabilities, resized
from byoc_vision.client.images import Picture
from byoc_vision.client.over_http import ask_url
from byoc_vision.client.over_sagemaker import ask_deployed, ask_endpoint
from byoc_vision.client.patience import ask_patiently
from byoc_vision.client.payload import MB, REAL_TIME_MB, Payload, make_payload
from byoc_vision.client.request import TIMEOUT, Ask, Request, Where
from byoc_vision.errors import InputError
from byoc_vision.inference.options import SMALLEST_TILE

_ENDPOINT_NAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?")
_OF_ENDPOINTS = ("target_model", "target_variant", "inference_component", "region", "session", "client")


class MaskOptions(Where, total=False):
    """What `predict_mask` takes beside `as_array`."""

    threshold: float | None
    tile: int | Literal["auto"] | None
    tta: Literal["none", "flip", "flips"] | None
    palette: bool
    overlay: bool
    downsize: bool


@overload
def predict_mask(
    endpoint_or_url: Any, image: Picture, *, as_array: Literal[True], **options: Unpack[MaskOptions]
) -> np.ndarray: ...


@overload
def predict_mask(
    endpoint_or_url: Any, image: Picture, *, as_array: Literal[False] = False, **options: Unpack[MaskOptions]
) -> Image.Image: ...


def predict_mask(
    endpoint_or_url: Any,
    image: Picture,
    *,
    as_array: bool = False,
    threshold: float | None = None,
    tile: int | Literal["auto"] | None = None,
    tta: Literal["none", "flip", "flips"] | None = None,
    palette: bool = False,
    overlay: bool = False,
    downsize: bool = False,
    **where: Unpack[Where],
) -> Image.Image | np.ndarray:
    """The mask of a picture, in the pixel values of the training masks: a PIL image, or an array uint8 [H, W].

    endpoint_or_url: an endpoint's name, a URL, or what an SDK returns from a deployment. image: a path, the bytes of
    a file, a file, a PIL image, or an array. The mask has the size of the picture, upright.
    threshold, tile, tta: as docs/http.md explains them. palette: a PIL image of the same values with the colours of
    the classes. overlay: instead the picture with its mask drawn over it, RGB. downsize: a picture too large for a
    request is sent smaller; its mask has the original's size all the same. where: see `Where`.
    Raises DataError: no picture, or too large; InputError: an argument; PredictionError: no answer.
    """
    payload = _payload(endpoint_or_url, image, downsize, where)
    options = _options(threshold=threshold, tile=_scaled(tile, payload), tta=tta, palette=palette or None)
    accept = "image/png; view=overlay" if overlay else "image/png"
    mask = read_mask(_ask(endpoint_or_url, Request(payload.body, accept, options), where))
    if payload.original is not None and mask.size != payload.original:
        mask = mask.resize(payload.original, Image.Resampling.LANCZOS if overlay else Image.Resampling.NEAREST)
    return np.asarray(mask) if as_array else mask


def predict_classes(
    endpoint_or_url: Any,
    image: Picture,
    *,
    threshold: float | None = None,
    tta: Literal["none", "flip", "flips"] | None = None,
    only_present: bool = False,
    downsize: bool = False,
    **where: Unpack[Where],
) -> list[tuple[str, float]]:
    """The classes of a picture with their probabilities, best first.

    only_present: of a model whose pictures may have several classes, those above its threshold alone, or above
    `threshold`. The rest as in `predict_mask`.
    """
    payload = _payload(endpoint_or_url, image, downsize, where)
    request = Request(payload.body, "application/json", _options(threshold=threshold, tta=tta))
    return read_classes(_ask(endpoint_or_url, request, where), only_present)


def predict_probabilities(
    endpoint_or_url: Any,
    image: Picture,
    *,
    tile: int | Literal["auto"] | None = None,
    tta: Literal["none", "flip", "flips"] | None = None,
    downsize: bool = False,
    **where: Unpack[Where],
) -> np.ndarray:
    """The probabilities in class order: float32 [K], of a mask [K, H, W]. The rest as in `predict_mask`."""
    payload = _payload(endpoint_or_url, image, downsize, where)
    request = Request(payload.body, "application/x-npy", _options(tile=_scaled(tile, payload), tta=tta))
    probabilities = read_probabilities(_ask(endpoint_or_url, request, where))
    if payload.original is None or probabilities.ndim != 3:
        return probabilities
    return resized(probabilities, payload.original)


def _ask(endpoint_or_url: Any, request: Request, where: Where) -> bytes:
    ask = _way(endpoint_or_url, where)
    return ask_patiently(lambda: ask(request))


def _way(endpoint_or_url: Any, where: Where) -> Ask:
    """How to ask. Raises InputError where that cannot be told."""
    if _is_url(endpoint_or_url):
        if misplaced := [name for name in _OF_ENDPOINTS if name in where]:
            remedy = "a model behind a URL is asked at http://HOST/models/NAME/invoke"
            raise InputError(f"{misplaced[0]} is for SageMaker's endpoints; {remedy}")
        return ask_url(endpoint_or_url, where.get("timeout", TIMEOUT))
    if isinstance(endpoint_or_url, str):
        if not _ENDPOINT_NAME.fullmatch(endpoint_or_url):
            raise InputError(
                f"{endpoint_or_url!r} is neither an endpoint's name nor a URL, which begins with http:// or https://"
            )
        return ask_endpoint(endpoint_or_url, where)
    if getattr(endpoint_or_url, "endpoint_name", None):
        return ask_deployed(endpoint_or_url, where)
    raise InputError(
        f"a {type(endpoint_or_url).__name__} is no endpoint; give its name, a URL, or what an SDK's deploy() returns"
    )


def _is_url(endpoint_or_url: Any) -> bool:
    return isinstance(endpoint_or_url, str) and endpoint_or_url.lower().startswith(("http://", "https://"))


def _payload(endpoint_or_url: Any, image: Picture, downsize: bool, where: Where) -> Payload:
    limit_mb = where.get("limit_mb", None if _is_url(endpoint_or_url) else REAL_TIME_MB)
    return make_payload(image, None if limit_mb is None else limit_mb * MB, downsize)


def _scaled(tile: int | Literal["auto"] | None, payload: Payload) -> int | str | None:
    """A tile is counted in pixels of the caller's picture."""
    return max(SMALLEST_TILE, round(tile * payload.scale)) if isinstance(tile, int) else tile


def _options(**given: object) -> dict[str, str]:
    return {name: str(value).lower() for name, value in given.items() if value is not None}
