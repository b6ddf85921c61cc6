"""An image in any form that callers have it in, as the bytes of a request."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeAlias

import numpy as np
from PIL import Image, ImageOps

from byoc_vision.errors import DataError

ImageInput: TypeAlias = str | Path | bytes | bytearray | memoryview | IO[bytes] | Image.Image | np.ndarray

CONTENT_TYPE = "application/x-image"  # the server detects the format
MB = 2**20
REAL_TIME_MB = 25  # SageMaker's limit of a request; 4 for a serverless endpoint

_FAST = 1  # zlib's level
_PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})
_JPEG_QUALITY = 90
_MARGIN = 0.9  # of the size that is aimed at: smaller images have more bytes per pixel
_SMALLEST = 32  # pixels, of the shorter side
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


@dataclass(frozen=True)
class Payload:
    """An image as it is sent. original: its own size, upright, (width, height), if it was made smaller to fit."""

    body: bytes
    original: tuple[int, int] | None = None
    scale: float = 1.0


def image_bytes(image: ImageInput) -> bytes:
    """The content of an image file.

    Files, their bytes and file objects are sent unchanged, without decoding; an array, uint8 [H, W], [H, W, 3] RGB or
    [H, W, 4] RGBA, or a PIL image becomes PNG. Raises DataError.
    """
    if isinstance(image, Image.Image):
        return _as_png(image)
    if isinstance(image, np.ndarray):
        return _as_png(_from_array(image))
    content = _content(image)
    if not content:
        raise DataError(f"{_name(image)} is empty; give an image")
    return content


def open_upright(image: ImageInput) -> Image.Image:
    """The image decoded and turned upright by its EXIF orientation, as servers do. Raises DataError."""
    if isinstance(image, np.ndarray):
        return _from_array(image)
    try:
        opened = image if isinstance(image, Image.Image) else Image.open(io.BytesIO(image_bytes(image)))
        return ImageOps.exif_transpose(opened)
    except _UNREADABLE as error:
        raise DataError(f"{_name(image)} cannot be read as an image: {error}") from error


def as_rgb(image: Image.Image) -> Image.Image:
    """As servers read it: transparent parts white, 16 bits reduced to 8."""
    if image.mode in ("I", "I;16", "I;16B", "I;16L"):
        return Image.fromarray((np.asarray(image) // 257).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        ground = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(ground, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def make_payload(image: ImageInput, limit: float | None, downsize: bool = False) -> Payload:
    """limit: bytes, None for none. downsize: whether a larger image is sent as a smaller JPEG.

    Raises DataError: not an image, or above the limit.
    """
    body = image_bytes(image)
    if limit is None or len(body) <= limit:
        return Payload(body)
    if downsize:
        return _downsized(body, limit)
    raise DataError(
        f"the image has {len(body) / MB:.1f} MB as it is sent, and a request may have {limit / MB:g} MB; "
        "downsize=True sends a smaller JPEG, a batch transform takes up to 100 MB and an asynchronous endpoint 1 GB"
    )


def _downsized(body: bytes, limit: float) -> Payload:
    """As JPEG in the same size if that fits, else in smaller sizes until one does."""
    image = as_rgb(open_upright(body))
    scale = 1.0
    while min(image.size) * scale >= _SMALLEST:
        smaller = _as_jpeg(image, scale)
        if len(smaller) <= limit:
            return Payload(smaller, image.size, scale)
        scale *= _MARGIN * math.sqrt(limit / len(smaller))
    raise DataError(f"no useful image fits into {limit:,.0f} bytes; raise limit_mb")


def _as_jpeg(image: Image.Image, scale: float) -> bytes:
    width, height = (max(1, round(side * scale)) for side in image.size)
    file = io.BytesIO()
    image.resize((width, height), Image.Resampling.LANCZOS).save(file, "JPEG", quality=_JPEG_QUALITY)
    return file.getvalue()


def _content(image: str | Path | bytes | bytearray | memoryview | IO[bytes]) -> bytes:
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, str | Path):
        try:
            return Path(image).read_bytes()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise DataError(f"{image}: {reason}; give the path of an image file") from error
    if callable(getattr(image, "read", None)):
        content = image.read()
        if isinstance(content, bytes):
            return content
        raise DataError("the file was opened as text; open it with mode 'rb'")
    raise DataError(f"a {type(image).__name__} is not an image; give a path, bytes, a file, a PIL image or an array")


def _from_array(array: np.ndarray) -> Image.Image:
    if array.dtype != np.uint8:
        remedy = "bring it to 0–255, then array.astype('uint8')"
        raise DataError(f"the array holds {array.dtype}, and images are uint8; {remedy}")
    shaped = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if shaped.ndim not in (2, 3) or (shaped.ndim == 3 and shaped.shape[2] not in (3, 4)) or not shaped.size:
        remedy = "give [H, W], [H, W, 3] or [H, W, 4]; send several images one by one"
        raise DataError(f"an array {list(array.shape)} is not an image; {remedy}")
    return Image.fromarray(np.ascontiguousarray(shaped))


def _as_png(image: Image.Image) -> bytes:
    """Lossless; upright, since PIL keeps the orientation apart from the pixels."""
    try:
        upright = ImageOps.exif_transpose(image)
    except _UNREADABLE as error:
        raise DataError(f"{_name(image)} cannot be read as an image: {error}") from error
    if upright.mode in ("F", "I"):
        remedy = "bring it to 0–255, then Image.fromarray(array.astype('uint8'))"
        raise DataError(f"a PIL image of mode {upright.mode} has no fixed range of values; {remedy}")
    file = io.BytesIO()
    (upright if upright.mode in _PNG_MODES else upright.convert("RGB")).save(file, "PNG", compress_level=_FAST)
    return file.getvalue()


def _name(image: object) -> str:
    if isinstance(image, str | Path):
        return str(image)
    return str(getattr(image, "filename", "") or getattr(image, "name", "") or "the image")
