"""Whether compressed pixels are missing within a JPEG file, which its segments do not show: by its decoded pixels.

libjpeg puts one grey in place of missing pixels, or what earlier scans of a progressive file have sent. It only counts
a warning, which neither OpenCV nor Pillow reports.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import JpegImagePlugin

from byoc_vision.data.jpeg_structure import CHECKED, Structure, ends_of_intervals, with_filling

_MISSING_GREY = 128


def is_complete(data: bytes, segments: Structure, pixels: np.ndarray | None = None) -> bool:
    """Whether no pixels are missing.

    A single scan is complete if its last pixel, and the last ones before its restart markers, have another colour than
    missing ones. Otherwise the file is decoded with more bytes after its pixels, which change the image only if pixels
    are missing: at an eighth of its size, but for progressive files, of which that size shows the first scans alone.

    pixels: uint8 [H, W, 3] or [H, W], decoded, if they are known.
    """
    if segments.frame not in CHECKED:
        return True
    if not segments.is_sequential:
        decoded = _decode(with_filling(data, segments))
        # Once more, if they differ: another decoder than Pillow may have made the pixels.
        is_same = pixels is not None and np.array_equal(decoded, pixels)
        return is_same or np.array_equal(decoded, _decode(data))
    if pixels is not None and segments.has_one_scan:
        ends = pixels[ends_of_intervals(segments)].reshape(-1, pixels[0, 0].size)
        if np.any(ends != _MISSING_GREY, axis=1).all():
            return True
    return np.array_equal(_decode_small(data), _decode_small(with_filling(data, segments)))


def _decode(data: bytes) -> np.ndarray:
    """By Pillow: OpenCV would print a warning about the filling."""
    return np.asarray(JpegImagePlugin.JpegImageFile(io.BytesIO(data)))


def _decode_small(data: bytes) -> np.ndarray:
    """At an eighth of the width and the height, the smallest that libjpeg decodes to."""
    image = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
    image.draft(image.mode, (1, 1))
    return np.asarray(image)
