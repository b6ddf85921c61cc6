"""A picture in any of the forms that people have it in, as the bytes that are sent."""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO, TypeAlias

import numpy as np
from PIL import Image, ImageOps

from byoc_vision.errors import DataError

Picture: TypeAlias = str | Path | bytes | bytearray | memoryview | IO[bytes] | Image.Image | np.ndarray

CONTENT_TYPE = "application/x-image"  # its bytes say which

_QUICKLY = 1  # zlib's level
_PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def picture_bytes(picture: Picture) -> bytes:
    """The content of a picture file.

    Files, their bytes and file objects are passed on as they are, so that nothing is decoded here; an array, uint8
    [H, W], [H, W, 3] RGB or [H, W, 4] RGBA, or a PIL picture becomes PNG. Raises DataError.
    """
    if isinstance(picture, Image.Image):
        return _as_png(picture)
    if isinstance(picture, np.ndarray):
        return _as_png(_from_array(picture))
    content = _content(picture)
    if not content:
        raise DataError(f"{_name(picture)} is empty; give a picture")
    return content


def open_upright(picture: Picture) -> Image.Image:
    """The picture decoded and turned upright by its EXIF orientation, as servers see it. Raises DataError."""
    if isinstance(picture, np.ndarray):
        return _from_array(picture)
    try:
        opened = picture if isinstance(picture, Image.Image) else Image.open(io.BytesIO(picture_bytes(picture)))
        return ImageOps.exif_transpose(opened)
    except _UNREADABLE as error:
        raise DataError(f"{_name(picture)} cannot be read as a picture: {error}") from error


def as_rgb(image: Image.Image) -> Image.Image:
    """As servers read it: transparent parts white, 16 bits brought to 8."""
    if image.mode in ("I", "I;16", "I;16B", "I;16L"):
        return Image.fromarray((np.asarray(image) // 257).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        ground = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(ground, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def _content(picture: str | Path | bytes | bytearray | memoryview | IO[bytes]) -> bytes:
    if isinstance(picture, bytes | bytearray | memoryview):
        return bytes(picture)
    if isinstance(picture, str | Path):
        try:
            return Path(picture).read_bytes()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise DataError(f"{picture}: {reason}; give the path of a picture file") from error
    if callable(getattr(picture, "read", None)):
        content = picture.read()
        if isinstance(content, bytes):
            return content
        raise DataError("the file was opened as text; open it with mode 'rb'")
    raise DataError(f"a {type(picture).__name__} is no picture; give a path, bytes, a file, a PIL image or an array")


def _from_array(array: np.ndarray) -> Image.Image:
    if array.dtype != np.uint8:
        remedy = "bring it to 0–255, then array.astype('uint8')"
        raise DataError(f"the array holds {array.dtype}, and pictures are uint8; {remedy}")
    shaped = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if shaped.ndim not in (2, 3) or (shaped.ndim == 3 and shaped.shape[2] not in (3, 4)) or not shaped.size:
        remedy = "give [H, W], [H, W, 3] or [H, W, 4]; several pictures one by one"
        raise DataError(f"an array {list(array.shape)} is no picture; {remedy}")
    return Image.fromarray(np.ascontiguousarray(shaped))


def _as_png(image: Image.Image) -> bytes:
    """Lossless; upright, since PIL keeps the orientation beside the pixels."""
    try:
        upright = ImageOps.exif_transpose(image)
    except _UNREADABLE as error:
        raise DataError(f"{_name(image)} cannot be read as a picture: {error}") from error
    if upright.mode in ("F", "I"):
        remedy = "bring it to 0–255, then Image.fromarray(array.astype('uint8'))"
        raise DataError(f"a PIL image of mode {upright.mode} has no fixed range of values; {remedy}")
    file = io.BytesIO()
    (upright if upright.mode in _PNG_MODES else upright.convert("RGB")).save(file, "PNG", compress_level=_QUICKLY)
    return file.getvalue()


def _name(picture: object) -> str:
    if isinstance(picture, str | Path):
        return str(picture)
    return str(getattr(picture, "filename", "") or getattr(picture, "name", "") or "the picture")
