"""Images with any number of bands, 8 or 16 bits or floats, as the model takes them: each band stretched to uint8."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.lib import format as npy_format

from byoc_vision.data import fileformat, tiff
from byoc_vision.data.decoding import (
    MAX_BYTES,
    MAX_PIXELS,
    Content,
    ImageTooLarge,
    content_of,
    image_size,
    open_image,
    orientation_of,
    read_content,
    read_image,
    upright,
)
from byoc_vision.data.fileformat import is_npy
from byoc_vision.data.samples import ImageSource, Sample
from byoc_vision.errors import DataError, InputError
from byoc_vision.preprocess import Band, stretch

MOST_BANDS = 16

_LOOKED_AT = 5  # images whose headers tell the number of bands
_MEASURED = 100  # images whose pixels tell the range of each band
_GRID = 64  # pixels of each side of an image that are measured
_LEAST_STD = 0.001
_PERCENTILES = (1, 99)
_NPY_DTYPES = ("|u1", "<u2", "<i2", "<f4", "<f8")


class Stored(NamedTuple):
    """What a file's header says. dtype: of the values."""

    height: int
    width: int
    bands: int
    dtype: np.dtype
    is_photograph: bool


def read_pixels(
    source: ImageSource | Content | bytes, bands: Sequence[Band] = (), *, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """An image as the model's preprocessing takes it, upright: uint8 [H, W, bands], or RGB as `read_image` reads it.

    bands: of a model of images with bands; none for photographs. Raises what `read_image` raises.
    """
    if not bands:
        return read_image(source, max_pixels=max_pixels)
    content = content_of(source)
    pixels = read_bands(content, max_pixels=max_pixels)
    if pixels.shape[2] != len(bands):
        raise _other_bands(content.name, pixels.shape[2], len(bands))
    return stretch(pixels, bands)


class BandImage(NamedTuple):
    """An image of a model of bands, whose header was read."""

    content: Content
    bands: Sequence[Band]
    height: int
    width: int
    bytes_per_pixel: int

    def decode(self) -> np.ndarray:
        """uint8 [H, W, bands]. Raises DataError."""
        return read_pixels(self.content, self.bands)


def open_bands(content: Content, bands: Sequence[Band], *, max_pixels: int) -> BandImage:
    """Raises DataError if the image has another number of bands, ImageTooLarge above `max_pixels`."""
    stored = _read_header(content)
    if stored is None:
        opened = open_image(content, max_pixels=max_pixels)
        stored = Stored(opened.height, opened.width, 3, np.dtype("u1"), is_photograph=True)
    else:
        _check_pixels(content.name, stored, max_pixels)
    if stored.bands != len(bands):
        raise _other_bands(content.name, stored.bands, len(bands))
    return BandImage(content, bands, stored.height, stored.width, stored.bands * (2 * stored.dtype.itemsize + 2))


def _check_pixels(name: str, stored: Stored, max_pixels: int) -> None:
    if stored.height * stored.width > max_pixels:
        raise ImageTooLarge(
            f"{name} declares {stored.width} × {stored.height} pixels, more than the {max_pixels:,} allowed"
        )


def _other_bands(name: str, found: int, wanted: int) -> DataError:
    return DataError(f"{name} has {found} bands, and the model's images have {wanted}; send TIFF or npy with {wanted}")


def read_bands(content: Content, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The values as they are stored, [H, W, bands]: uint8, uint16, int16 or float32. Raises as `read_image`."""
    stored = _read_header(content)
    if stored is None:
        return read_image(content, max_pixels=max_pixels)
    _check_pixels(content.name, stored, max_pixels)
    if stored.bands > MOST_BANDS:
        raise DataError(f"{content.name} has {stored.bands} bands; at most {MOST_BANDS} are read")
    if stored.height * stored.width * stored.bands * stored.dtype.itemsize * 2 > MAX_BYTES:
        raise ImageTooLarge(f"{content.name} has {stored.bands} bands of {stored.width} × {stored.height} pixels")
    try:
        pixels = _decode(content)
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{content.name} is damaged or cut short: {error}; copy or export it again") from error
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        pixels = np.nan_to_num(pixels, nan=0.0, posinf=0.0, neginf=0.0)
    return pixels if is_npy(content.data) else upright(pixels, orientation_of(content))


def size_of(image: ImageSource) -> tuple[int, int]:
    """Height and width of the upright image. Only the header is read. Raises DataError."""
    content = read_content(image)
    if is_npy(content.data):
        stored = _npy_header(content)
        return stored.height, stored.width
    return image_size(content)


def find_bands(samples: Sequence[Sample], wanted: int | None) -> tuple[Band, ...]:
    """The range of each band of the training images; none if they are photographs: 8-bit grey, RGB or RGBA.

    wanted: the number of bands, if the user says it.
    Raises InputError if the images have another number, DataError if none of the first ones can be read.
    """
    images = [sample.image for sample in samples]
    headers = [header for image in _spread(images, _LOOKED_AT) if (header := _header_of(image)) is not None]
    counts = sorted({header.bands for header in headers})
    if wanted is None and (not headers or any(header.is_photograph for header in headers)):
        return ()
    if wanted == 3 and not headers:
        return ()
    if len(counts) > 1 or (wanted is not None and counts not in ([], [wanted])):
        raise InputError(
            f"images have {' and '.join(map(str, counts))} bands, such as {images[0]}; they must all have "
            f"{wanted or 'the same number'}: set bands, or save them alike"
        )
    return measure_bands(images)


def measure_bands(images: Sequence[ImageSource]) -> tuple[Band, ...]:
    """From the 1st to the 99th percentile of each band, of pixels on a grid. Raises DataError if no image is read."""
    seen, problem = [], "there are none"
    for image in _spread(images, _MEASURED):
        try:
            pixels = read_bands(read_content(image))
        except DataError as error:
            problem = str(error)
            continue
        rows, columns = (np.linspace(0, side - 1, min(side, _GRID)).astype(int) for side in pixels.shape[:2])
        seen.append(pixels[np.ix_(rows, columns)].reshape(-1, pixels.shape[2]))
    if not seen:
        raise DataError(f"the bands of the training images cannot be measured: {problem}")
    if len({part.shape[1] for part in seen}) > 1:
        raise DataError(f"training images differ in their number of bands: {sorted({p.shape[1] for p in seen})}")
    values = np.concatenate(seen)
    lows, highs = np.percentile(values, _PERCENTILES, axis=0)
    tops = values.max(axis=0)
    ranges = [
        Band(low=float(low), high=float(high if high > low else max(top, low + 1)))
        for low, high, top in zip(lows, highs, tops, strict=True)
    ]
    stretched = stretch(values[None], ranges)[0] / 255
    return tuple(
        band.model_copy(
            update={"mean": round(float(column.mean()), 6), "std": max(round(float(column.std()), 6), 1e-3)}
        )
        for band, column in zip(ranges, stretched.T, strict=True)
    )


def describe_bands(bands: Sequence[Band]) -> str:
    """`120–3000, 80–2500`"""
    return ", ".join(f"{band.low:.5g}–{band.high:.5g}" for band in bands)


def _spread(images: Sequence[ImageSource], count: int) -> Iterable[ImageSource]:
    """Some of the images that are on this host."""
    step = max(1, len(images) // count)
    places = itertools.chain(range(0, len(images), step), (at for at in range(len(images)) if at % step))
    candidates = (images[place] for place in places)
    return islice((image for image in candidates if not isinstance(image, Path) or image.exists()), count)


def _header_of(image: ImageSource) -> Stored | None:
    try:
        return _read_header(read_content(image))
    except DataError:
        return None


def _read_header(content: Content) -> Stored | None:
    """None for images that only `read_image` reads, such as JPEG. Raises DataError."""
    data = content.data
    if is_npy(data):
        return _npy_header(content)
    kind = fileformat.identify(data)
    if kind == "PNG" and len(data) > 33:
        width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
        bands = {0: 1, 2: 3, 4: 2, 6: 4}.get(data[25])
        if bands is None or data[24] < 8:
            return None
        return Stored(height, width, bands, np.dtype("u2" if data[24] == 16 else "u1"), is_photograph=True)
    if kind != "TIFF":
        return None
    try:
        layout = tiff.read_layout(data)
    except ValueError as error:
        raise DataError(f"{content.name} is damaged: {error}; export it again") from error
    if layout is None:
        return None
    coloured = layout.bands - layout.alpha
    is_photograph = coloured in (1, 3) and (layout.dtype == "u1" or coloured == 1)
    return Stored(layout.height, layout.width, layout.bands, np.dtype(layout.dtype), is_photograph)


def _npy_header(content: Content) -> Stored:
    file = io.BytesIO(content.data[:1024])
    try:
        version = npy_format.read_magic(file)
        read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
        shape, _, dtype = read(file, max_header_size=1024)
    except Exception as error:
        raise DataError(f"{content.name}: the array's header cannot be read ({error}); use numpy.save") from error
    if len(shape) not in (2, 3) or dtype.str not in _NPY_DTYPES or min(shape) < 1:
        raise DataError(
            f"{content.name} holds {dtype} {list(shape)}; save uint8, uint16, int16 or float32 [H, W, bands]"
        )
    if len(content.data) - file.tell() != int(np.prod(shape, dtype=object)) * dtype.itemsize:
        raise DataError(f"{content.name} is cut short: it declares {list(shape)}; copy it again")
    return Stored(int(shape[0]), int(shape[1]), int(shape[2]) if len(shape) == 3 else 1, dtype, is_photograph=False)


def _decode(content: Content) -> np.ndarray:
    if is_npy(content.data):
        array: np.ndarray = np.load(io.BytesIO(content.data), allow_pickle=False)
        pixels = array.astype(np.float32) if array.dtype == np.float64 else array
        return pixels[..., None] if pixels.ndim == 2 else pixels
    if fileformat.identify(content.data) == "PNG":
        if not fileformat.is_whole(content.data, "PNG"):
            raise DataError(f"{content.name} is cut short: the PNG image has no end; copy it again")
        decoded = cv2.imdecode(np.frombuffer(content.data, np.uint8), cv2.IMREAD_UNCHANGED)
        if decoded is None:
            raise ValueError("the PNG image cannot be decoded")
        if decoded.ndim == 2:
            return decoded[..., None]
        return decoded[..., [2, 1, 0, *range(3, decoded.shape[2])]]  # OpenCV's order is blue, green, red
    layout = tiff.read_layout(content.data)
    assert layout is not None, "its header was read"
    return tiff.read_samples(content.data, layout)
