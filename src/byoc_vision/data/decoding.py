"""Reading images and masks, from files and from requests, by the same rules.

OpenCV decodes the common formats (8-bit grey and colour JPEG, PNG, WebP, BMP) at twice Pillow's speed;
Pillow reads the header of every image first, and decodes all other formats.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import NamedTuple

import cv2
import numpy as np
from PIL import (
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from PIL.ImageFile import ImageFile

from byoc_vision.data import fileformat
from byoc_vision.data.fileformat import Format
from byoc_vision.data.samples import ImageSource
from byoc_vision.errors import DataError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
IMAGE_KINDS = "JPEG, PNG, WebP, BMP, TIFF or GIF"

MAX_PIXELS = 178_956_970  # Pillow's own limit, 512 MiB of RGB

_BAND_PIXELS = 2**22  # that are converted at a time

# `Image.open` would try every plugin, and check the size against a limit that is global to the process.
_OPENERS = {
    "JPEG": JpegImagePlugin.jpeg_factory,
    "PNG": PngImagePlugin.PngImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "GIF": GifImagePlugin.GifImageFile,
}
_OPENCV_KINDS = frozenset({"JPEG", "PNG", "WebP", "BMP"})
_OPENCV_FLAGS = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
# What Pillow's plugins raise for damaged files: the list in Image.open, and what their decoders add.
_PILLOW_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
)


class ImageTooLarge(DataError):  # noqa: N818 - named after the fault
    """The image declares more pixels than are allowed. It was not decoded."""


class Content(NamedTuple):
    """The bytes of a file. name: of the file, in messages."""

    name: str
    data: bytes


def read_content(file: ImageSource) -> Content:
    """All bytes of a file, for callers that need them in addition to the pixels. Raises DataError."""
    try:
        return Content(str(file), file.read_bytes())
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}") from error


def read_image(source: ImageSource | Content | bytes, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """An image as uint8 RGB [H, W, 3], upright: EXIF orientation is applied.

    Grey becomes three equal channels. Transparent parts become white, as on a page: the colour behind them is
    arbitrary. The upper 8 of 16 bits are kept. Floats range from 0 to 1, or to 255 if any is above 1. CMYK is
    converted without a colour profile. The first of several frames or pages is read.

    Args:
        source: a file, a range of one, or the content of either.
        max_pixels: the largest width × height that is decoded.

    Raises:
        ImageTooLarge: the image has more pixels than `max_pixels`.
        DataError: the image is missing, cut short, damaged, or not an image.
    """
    opened = _open(source, max_pixels)
    pixels = _decode_fast(opened) if _is_plain(opened) else _to_rgb(opened)
    return _upright(pixels, _orientation(opened))


def read_mask(path: ImageSource | Content, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The numbers that a mask file stores, uint8 [H, W]: grey levels, or palette indices, never palette colours.

    A 1-bit mask gives 0 and 1 (2 bits: 0–3, 4 bits: 0–15), even if viewers show black and white. 16-bit masks are
    read if all values fit into 8 bits, colour masks if red, green and blue are equal; alpha is ignored. EXIF
    orientation is applied as for images.

    Raises:
        ImageTooLarge: the mask has more pixels than `max_pixels`.
        DataError: the file is missing, cut short, damaged, has several frames, or does not hold one number per pixel.
    """
    opened = _open(path, max_pixels)
    if _is_animated(opened):
        raise DataError(f"{opened.name} has several frames; a mask has one: save one file per image")
    return _upright(_to_labels(opened), _orientation(opened))


class _Opened(NamedTuple):
    """An image whose header was read, but not its pixels."""

    name: str
    data: bytes
    kind: Format
    image: ImageFile


def _open(source: ImageSource | Content | bytes, max_pixels: int) -> _Opened:
    name, data = _content(source)
    kind = fileformat.identify(data)
    if kind is None:
        raise DataError(f"{name} is not a {IMAGE_KINDS} image: {fileformat.describe(data)}")
    try:
        image = _OPENERS[kind](io.BytesIO(data))
    except Image.DecompressionBombError as error:
        raise ImageTooLarge(f"{name} declares more than {MAX_PIXELS:,} pixels; send a smaller image") from error
    except _PILLOW_ERRORS as error:
        raise _broken(name, data, kind, error) from error
    width, height = image.size
    if width * height > max_pixels:
        raise ImageTooLarge(
            f"{name} declares {width} × {height} pixels, more than the {max_pixels:,} allowed; send a smaller image"
        )
    if not fileformat.is_whole(data, kind):
        raise _broken(name, data, kind)
    return _Opened(name, data, kind, image)


def _content(source: ImageSource | Content | bytes) -> Content:
    if isinstance(source, bytes):
        return Content("the image", source)
    return source if isinstance(source, Content) else read_content(source)


def _broken(name: str, data: bytes, kind: Format, error: Exception | None = None) -> DataError:
    if not fileformat.is_whole(data, kind):
        return DataError(f"{name} is cut short: the {kind} image has no end ({len(data):,} bytes); copy it again")
    reason = f" ({error})" if error and str(error) else ""
    return DataError(f"{name} is damaged: the {kind} image cannot be decoded{reason}; copy or export it again")


def _is_plain(opened: _Opened) -> bool:
    """Whether OpenCV and Pillow agree on what the pixels mean."""
    if opened.kind not in _OPENCV_KINDS or opened.image.mode not in ("L", "RGB"):
        return False
    if opened.kind == "PNG" and fileformat.png_bit_depth(opened.data) != 8:
        return False
    return not opened.image.has_transparency_data


def _decode_fast(opened: _Opened) -> np.ndarray:
    try:
        pixels = cv2.imdecode(np.frombuffer(opened.data, np.uint8), _OPENCV_FLAGS)
    except cv2.error as error:
        raise _broken(opened.name, opened.data, opened.kind) from error
    if pixels is None:
        raise _broken(opened.name, opened.data, opened.kind)
    return pixels


def _to_rgb(opened: _Opened) -> np.ndarray:
    """An image that is not plain, decoded by Pillow: uint8 [H, W, 3]."""
    image = _loaded(opened)
    if image.mode.startswith("I;16"):
        return _grey_to_rgb((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode == "F":
        return _grey_to_rgb(_float_to_uint8(np.asarray(image), opened.name))
    if image.mode == "I":
        raise DataError(f"{opened.name} has 32-bit values, whose value for white is unknown; save it with 8 or 16 bits")
    try:
        if image.has_transparency_data:
            rgba = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
        return _rgb_of(image)
    except _PILLOW_ERRORS as error:
        raise DataError(
            f"{opened.name} has colours of mode {image.mode}, which are not supported ({error}); save it as RGB"
        ) from error


def _rgb_of(image: Image.Image) -> np.ndarray:
    """The image as RGB, converted band by band: a large image would need several times its memory otherwise."""
    width, height = image.size
    rgb = np.empty((height, width, 3), np.uint8)
    rows = max(1, _BAND_PIXELS // max(1, width))
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        rgb[top:bottom] = np.asarray(image.crop((0, top, width, bottom)).convert("RGB"))
    return rgb


def _to_labels(opened: _Opened) -> np.ndarray:
    image = _loaded(opened)
    values = np.asarray(image)
    if image.mode in ("L", "P"):
        return _stored_samples(values, opened)
    if image.mode == "1":
        return values.astype(np.uint8)
    if image.mode in ("LA", "PA"):
        return np.ascontiguousarray(values[..., 0])
    if image.mode in ("RGB", "RGBA"):
        red, green, blue = values[..., 0], values[..., 1], values[..., 2]
        if not (np.array_equal(red, green) and np.array_equal(red, blue)):
            raise DataError(
                f"{opened.name} is a colour image; save the labels as a single-channel or palette image "
                "whose pixel values are the classes"
            )
        return np.ascontiguousarray(red)
    if image.mode == "I" or image.mode.startswith("I;16"):
        low, high = int(values.min()), int(values.max())
        if low < 0 or high > 255:
            raise DataError(f"{opened.name} has label values from {low} to {high}; they must lie within 0–255")
        return values.astype(np.uint8)
    raise DataError(
        f"{opened.name} has pixels of mode {image.mode}; save the labels as an 8-bit single-channel or palette image"
    )


def _is_animated(opened: _Opened) -> bool:
    """Whether there is a second frame; Pillow looks for it after the first."""
    try:
        return bool(getattr(opened.image, "is_animated", False))
    except _PILLOW_ERRORS as error:
        raise _broken(opened.name, opened.data, opened.kind, error) from error


def _loaded(opened: _Opened) -> Image.Image:
    try:
        opened.image.load()
    except _PILLOW_ERRORS as error:
        raise _broken(opened.name, opened.data, opened.kind, error) from error
    return opened.image


def _stored_samples(values: np.ndarray, opened: _Opened) -> np.ndarray:
    """Undo Pillow's stretching of 2- and 4-bit grey PNGs to 0–255."""
    if opened.kind == "PNG" and opened.image.mode == "L" and (depth := fileformat.png_bit_depth(opened.data)) < 8:
        values = values // (255 // (2**depth - 1))
    return np.array(values)


def _grey_to_rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[:, :, None], 3, axis=2)


def _float_to_uint8(values: np.ndarray, name: str) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 255):  # also false for NaN
        raise DataError(f"{name} has float values from {low:g} to {high:g}; save it as 0 to 1, or with 8 or 16 bits")
    scaled: np.ndarray = np.rint(values * (255 if high <= 1 else 1))
    return scaled.astype(np.uint8)


def _orientation(opened: _Opened) -> int:
    """The EXIF orientation that is still to be applied, 1–8. Pillow applies it to a TIFF when it loads it."""
    if opened.kind == "TIFF":
        return 1
    block = fileformat.png_exif(opened.data) if opened.kind == "PNG" else opened.image.info.get("exif", b"")
    exif = Image.Exif()
    try:
        exif.load(block)
        orientation = exif.get(ExifTags.Base.Orientation, 1)
    except _PILLOW_ERRORS:
        return 1  # as browsers do: broken EXIF data do not make the image unreadable
    return orientation if orientation in range(1, 9) else 1


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Rotate and mirror [H, W(, 3)] by EXIF orientation 1–8 (EXIF 2.32, tag 274)."""
    if orientation == 1:
        return pixels
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
