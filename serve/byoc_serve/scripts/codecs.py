"""What a script without `input_fn` or `output_fn` gets and gives.

JSON and CSV go through the functions of SageMaker's inference toolkit. Arrays (.npy) do not: the toolkit reads them
with `allow_pickle=True`, so that a request could execute code; here such an array is refused.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from byoc_serve import npy
from byoc_serve.request import media_type_of
from byoc_vision.errors import InputError, RequestError

JSON, CSV, NPY = "application/json", "text/csv", "application/x-npy"
TEXTS = (JSON, CSV)
OUTPUTS = (JSON, CSV, NPY)


def is_image(media_type: str) -> bool:
    return media_type.startswith("image/") or media_type == "application/x-image"


def decode(body: bytes | str, content_type: str | None, max_pixels: int) -> Any:
    """A request's body: an image as uint8 RGB [H, W, 3], all else as an array.

    Raises RequestError 415 for other types, DataError for a damaged image, ValueError for other damaged bodies.
    """
    media_type = media_type_of(content_type)
    if is_image(media_type) and isinstance(body, bytes):
        from byoc_vision.data.decoding import read_image

        return read_image(body, max_pixels=max_pixels)
    if media_type == NPY and isinstance(body, bytes):
        return npy.view(body).copy()  # a view of the body cannot be written to
    if media_type in TEXTS:
        return toolkit("decoder").decode(body, media_type)
    raise RequestError(
        415,
        f"Content-Type: {content_type} is not supported; send image/*, {JSON}, {CSV} or {NPY}, or write input_fn",
    )


def encode(prediction: Any, accept: str) -> tuple[bytes | str, str]:
    """A prediction as the client accepts it, and its media type. Raises RequestError 406."""
    media_type = parse_accept_header(accept, MIMEAccept).best_match(OUTPUTS)
    if media_type is None:
        raise RequestError(406, f"Accept: {accept} cannot be met; accept {', '.join(OUTPUTS)}, or write output_fn")
    if media_type == NPY:
        return npy.dump(np.asarray(prediction)), media_type
    return toolkit("encoder").encode(prediction, media_type), media_type


def toolkit(name: str) -> ModuleType:
    """A module of SageMaker's inference toolkit. Raises InputError if it is not installed, as on a laptop."""
    try:
        import sagemaker_inference.decoder
        import sagemaker_inference.encoder
    except ImportError as error:
        raise InputError(
            "JSON and CSV without input_fn or output_fn take sagemaker-inference, which the image has and this "
            f"environment has not ({error}): pip install 'byoc-vision[image]', or write the functions"
        ) from error
    module: ModuleType = getattr(sagemaker_inference, name)
    return module
