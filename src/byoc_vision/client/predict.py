"""An image's mask, classes or probabilities, in one call."""

from __future__ import annotations

import re
from typing import Any, Literal, Unpack, overload

import numpy as np
from PIL import Image

from byoc_vision.client.images import MB, REAL_TIME_MB, ImageInput, Payload, make_payload
from byoc_vision.client.responses import read_classes, read_mask, read_probabilities, resized
from byoc_vision.client.transports import (
    TIMEOUT,
    ConnectionOptions,
    Request,
    Transport,
    deployed_transport,
    endpoint_transport,
    http_transport,
    send_with_retries,
)
from byoc_vision.errors import InputError
from byoc_vision.inference.options import SMALLEST_TILE

_ENDPOINT_NAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?")
_ENDPOINT_OPTIONS = ("target_model", "target_variant", "inference_component", "region", "session", "client")


class MaskOptions(ConnectionOptions, total=False):
    """The options of `predict_mask` besides `as_array`."""

    threshold: float | None
    tile: int | Literal["auto"] | None
    tta: Literal["none", "flip", "flips"] | None
    palette: bool
    overlay: bool
    downsize: bool


@overload
def predict_mask(
    endpoint_or_url: Any, image: ImageInput, *, as_array: Literal[True], **options: Unpack[MaskOptions]
) -> np.ndarray: ...


@overload
def predict_mask(
    endpoint_or_url: Any, image: ImageInput, *, as_array: Literal[False] = False, **options: Unpack[MaskOptions]
) -> Image.Image: ...


def predict_mask(
    endpoint_or_url: Any,
    image: ImageInput,
    *,
    as_array: bool = False,
    threshold: float | None = None,
    tile: int | Literal["auto"] | None = None,
    tta: Literal["none", "flip", "flips"] | None = None,
    palette: bool = False,
    overlay: bool = False,
    downsize: bool = False,
    **connection: Unpack[ConnectionOptions],
) -> Image.Image | np.ndarray:
    """The mask of an image, in the pixel values of the training masks: a PIL image, or an array uint8 [H, W].

    Args:
        endpoint_or_url: an endpoint's name, a URL, or what an SDK returns from a deployment.
        image: a path, the bytes of a file, a file, a PIL image, or an array.
        as_array: return an array instead of a PIL image.
        threshold, tile, tta: as docs/http.md explains them.
        palette: return a PIL image of the same values with the colours of the classes.
        overlay: return the image with its mask drawn over it, RGB.
        downsize: send an image that is too large for a request smaller; its mask still has the original size.
        connection: see `ConnectionOptions`.

    Returns:
        The mask, in the size of the upright image.

    Raises:
        DataError: not an image, or too large.
        InputError: an invalid argument.
        PredictionError: no prediction.
    """
    payload = _payload(endpoint_or_url, image, downsize, connection)
    options = _options(threshold=threshold, tile=_scaled(tile, payload), tta=tta, palette=palette or None)
    accept = "image/png; view=overlay" if overlay else "image/png"
    mask = read_mask(_ask(endpoint_or_url, Request(payload.body, accept, options), connection))
    if payload.original is not None and mask.size != payload.original:
        mask = mask.resize(payload.original, Image.Resampling.LANCZOS if overlay else Image.Resampling.NEAREST)
    return np.asarray(mask) if as_array else mask


def predict_classes(
    endpoint_or_url: Any,
    image: ImageInput,
    *,
    threshold: float | None = None,
    tta: Literal["none", "flip", "flips"] | None = None,
    only_present: bool = False,
    downsize: bool = False,
    **connection: Unpack[ConnectionOptions],
) -> list[tuple[str, float]]:
    """The classes of an image with their probabilities, best first.

    only_present: if images may have several classes, return those above the model's threshold, or above `threshold`.
    Other arguments as in `predict_mask`.
    """
    payload = _payload(endpoint_or_url, image, downsize, connection)
    request = Request(payload.body, "application/json", _options(threshold=threshold, tta=tta))
    return read_classes(_ask(endpoint_or_url, request, connection), only_present)


def predict_probabilities(
    endpoint_or_url: Any,
    image: ImageInput,
    *,
    tile: int | Literal["auto"] | None = None,
    tta: Literal["none", "flip", "flips"] | None = None,
    downsize: bool = False,
    **connection: Unpack[ConnectionOptions],
) -> np.ndarray:
    """The probabilities in class order: float32 [K], for masks [K, H, W]. Arguments as in `predict_mask`."""
    payload = _payload(endpoint_or_url, image, downsize, connection)
    request = Request(payload.body, "application/x-npy", _options(tile=_scaled(tile, payload), tta=tta))
    probabilities = read_probabilities(_ask(endpoint_or_url, request, connection))
    if payload.original is None or probabilities.ndim != 3:
        return probabilities
    return resized(probabilities, payload.original)


def _ask(endpoint_or_url: Any, request: Request, connection: ConnectionOptions) -> bytes:
    return send_with_retries(_transport(endpoint_or_url, connection), request)


def _transport(endpoint_or_url: Any, connection: ConnectionOptions) -> Transport:
    """Raises InputError for anything but a URL, an endpoint's name or an SDK's endpoint."""
    if _is_url(endpoint_or_url):
        if misplaced := [name for name in _ENDPOINT_OPTIONS if name in connection]:
            remedy = "behind a URL, name the model in it: http://HOST/models/NAME/invoke"
            raise InputError(f"{misplaced[0]} is for SageMaker's endpoints; {remedy}")
        return http_transport(endpoint_or_url, connection.get("timeout", TIMEOUT))
    if isinstance(endpoint_or_url, str):
        if not _ENDPOINT_NAME.fullmatch(endpoint_or_url):
            raise InputError(
                f"{endpoint_or_url!r} is neither an endpoint's name nor a URL, which begins with http:// or https://"
            )
        return endpoint_transport(endpoint_or_url, connection)
    if getattr(endpoint_or_url, "endpoint_name", None):
        return deployed_transport(endpoint_or_url, connection)
    raise InputError(
        f"a {type(endpoint_or_url).__name__} is not an endpoint; give a name, a URL, or what an SDK's deploy() returns"
    )


def _is_url(endpoint_or_url: Any) -> bool:
    return isinstance(endpoint_or_url, str) and endpoint_or_url.lower().startswith(("http://", "https://"))


def _payload(endpoint_or_url: Any, image: ImageInput, downsize: bool, connection: ConnectionOptions) -> Payload:
    limit_mb = connection.get("limit_mb", None if _is_url(endpoint_or_url) else REAL_TIME_MB)
    return make_payload(image, None if limit_mb is None else limit_mb * MB, downsize)


def _scaled(tile: int | Literal["auto"] | None, payload: Payload) -> int | str | None:
    """`tile` counts pixels of the caller's image; this counts pixels of the sent one."""
    return max(SMALLEST_TILE, round(tile * payload.scale)) if isinstance(tile, int) else tile


def _options(**given: object) -> dict[str, str]:
    return {name: str(value).lower() for name, value in given.items() if value is not None}
