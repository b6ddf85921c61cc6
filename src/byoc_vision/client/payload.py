"""What fits into a request: SageMaker takes 25 MB in real time, 4 MB of a serverless endpoint."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

from PIL import Image

from byoc_vision.client.images import Picture, as_rgb, open_upright, picture_bytes
from byoc_vision.errors import DataError

MB = 2**20
REAL_TIME_MB = 25
SERVERLESS_MB = 4

_QUALITY = 90
_MARGIN = 0.9  # of the size that is aimed at: smaller pictures have more bytes a pixel
_SMALLEST = 32  # pixels, of the shorter side


@dataclass(frozen=True)
class Payload:
    """A picture as it is sent. original: its own size, upright, (width, height), where it was made smaller to fit."""

    body: bytes
    original: tuple[int, int] | None = None
    scale: float = 1.0


def make_payload(picture: Picture, limit: float | None, downsize: bool = False) -> Payload:
    """limit: bytes, None for none. downsize: whether a picture above it is sent as a smaller JPEG.

    Raises DataError: no picture, or above the limit.
    """
    body = picture_bytes(picture)
    if limit is None or len(body) <= limit:
        return Payload(body)
    if downsize:
        return _downsized(body, limit)
    raise DataError(
        f"the picture has {len(body) / MB:.1f} MB as it is sent, and a request may have {limit / MB:g} MB; "
        "downsize=True sends a smaller JPEG, a batch transform takes up to 100 MB and an asynchronous endpoint 1 GB"
    )


def _downsized(body: bytes, limit: float) -> Payload:
    """The same size as JPEG where that suffices, else smaller until it fits."""
    image = as_rgb(open_upright(body))
    scale = 1.0
    while min(image.size) * scale >= _SMALLEST:
        smaller = _as_jpeg(image, scale)
        if len(smaller) <= limit:
            return Payload(smaller, image.size, scale)
        scale *= _MARGIN * math.sqrt(limit / len(smaller))
    raise DataError(f"no picture of use fits into {limit:,.0f} bytes; raise limit_mb")


def _as_jpeg(image: Image.Image, scale: float) -> bytes:
    width, height = (max(1, round(side * scale)) for side in image.size)
    file = io.BytesIO()
    image.resize((width, height), Image.Resampling.LANCZOS).save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
