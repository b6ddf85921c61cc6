"""The pixels of images that Pillow has decoded, as RGB or as the numbers that a mask stores."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from byoc_vision.errors import DataError

_BAND_PIXELS = 2**22  # that are converted at a time


def to_rgb(image: Image.Image, name: str) -> np.ndarray:
    """uint8 [H, W, 3]. Raises DataError for pixels that have no colour."""
    if image.mode.startswith("I;16"):
        return _in_bands(image, lambda band: _grey_to_rgb((np.asarray(band) >> 8).astype(np.uint8)))
    if image.mode == "F":
        scale = _float_scale(image, name)
        return _in_bands(image, lambda band: _grey_to_rgb(np.rint(np.asarray(band) * scale).astype(np.uint8)))
    if image.mode == "I":
        raise DataError(f"{name} has 32-bit values, whose value for white is unknown; save it with 8 or 16 bits")
    try:
        return _in_bands(image, _over_white if image.has_transparency_data else _convert)
    except ValueError as error:
        raise DataError(
            f"{name} has colours of mode {image.mode}, which are not supported ({error}); save it as RGB"
        ) from error


def _over_white(band: Image.Image) -> np.ndarray:
    rgba = band.convert("RGBA")
    return _convert(Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba))


def _convert(band: Image.Image) -> np.ndarray:
    return np.asarray(band.convert("RGB"))


def _in_bands(image: Image.Image, convert: Callable[[Image.Image], np.ndarray]) -> np.ndarray:
    """The image as RGB, converted band by band: a large image would need several times its memory otherwise."""
    width, height = image.size
    rgb = np.empty((height, width, 3), np.uint8)
    rows = max(1, _BAND_PIXELS // max(1, width))
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        rgb[top:bottom] = convert(image.crop((0, top, width, bottom)))
    return rgb


def to_labels(image: Image.Image, name: str, depth: int = 8) -> np.ndarray:
    """What a mask stores: uint8 [H, W], or colours, uint8 [H, W, 3]. depth: bits of a grey pixel in the file."""
    values = np.asarray(image)
    if image.mode in ("L", "P"):
        return _stored_samples(values, depth if image.mode == "L" else 8)
    if image.mode == "1":
        return values.astype(np.uint8)
    if image.mode in ("LA", "PA"):
        return np.ascontiguousarray(values[..., 0])
    if image.mode in ("RGB", "RGBA"):
        red, green, blue = values[..., 0], values[..., 1], values[..., 2]
        if not (np.array_equal(red, green) and np.array_equal(red, blue)):
            return np.ascontiguousarray(values[..., :3])
        return np.ascontiguousarray(red)
    if image.mode == "I" or image.mode.startswith("I;16"):
        low, high = int(values.min()), int(values.max())
        if low < 0 or high > 255:
            raise DataError(f"{name} has label values from {low} to {high}; they must lie within 0–255")
        return values.astype(np.uint8)
    raise DataError(
        f"{name} has pixels of mode {image.mode}; save the labels as an 8-bit single-channel or palette image"
    )


def to_colours(image: Image.Image) -> np.ndarray:
    """uint8 RGB [H, W, 3]; alpha does not count."""
    return np.array(image.convert("RGBA").convert("RGB") if image.mode in ("P", "PA") else image)[..., :3]


def _stored_samples(values: np.ndarray, depth: int) -> np.ndarray:
    """Undo Pillow's stretching of 2- and 4-bit grey PNGs to 0–255."""
    if depth < 8:
        values = values // (255 // (2**depth - 1))
    return np.array(values)


def _grey_to_rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[:, :, None], 3, axis=2)


def _float_scale(image: Image.Image, name: str) -> np.float32:
    """The factor that takes floats to 0–255. Raises DataError for values beyond the ranges of images."""
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 255):  # also false for NaN
        raise DataError(f"{name} has float values from {low:g} to {high:g}; save it as 0 to 1, or with 8 or 16 bits")
    return np.float32(255 if high <= 1 else 1)
