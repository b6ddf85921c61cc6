"""Pixels that clients send as numbers: NumPy arrays of floats, and nested lists of numbers in JSON."""

from __future__ import annotations

import numpy as np

from byoc_vision.errors import RequestError

SHAPES = "[H, W], [H, W, 3] or [N, H, W, 3]"

_BLANKS = b" \t\r\n"
_VALUES = b"0123456789+-.eE"
_KEYS = (b'"image"', b'"instances"', b'"inputs"')
_BRACKETS_TO_BLANKS = bytes.maketrans(b"[]", b"  ")
_GAPS = (b"[]", b"[,", b",,", b",]")  # NumPy reads some as -1
_MOST_DIMENSIONS = 4


def to_uint8(pixels: np.ndarray) -> np.ndarray:
    """Pixels as uint8, in the same shape. Floats range from 0 to 1, or to 255 if any is above 1.

    Raises RequestError 400 for other values, such as those of images that a client has normalised.
    """
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype.kind != "f":
        raise RequestError(400, f"the array's dtype is {pixels.dtype}; this model takes uint8, float32 or float64")
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= 0 and high <= 255):  # also false for NaN
        raise RequestError(
            400,
            f"the pixels range from {low:g} to {high:g}; send 0 to 255, or 0 to 1, as they are before normalisation",
        )
    scale = 255 if high <= 1 else 1
    scaled: np.ndarray = np.rint(pixels * pixels.dtype.type(scale)).astype(np.uint8)
    return scaled


def find_array(body: bytes) -> tuple[bytes, bool] | None:
    """The array in JSON that holds nothing else, and whether its key says that it is a list of images.

    `[[0, 255], …]`, `{"image": [[…]]}` and `{"instances": [[[…]]]}`; None for other JSON. The array is not built as
    JSON: its values as Python's objects would take ten times the memory of their text.
    """
    text = body.strip(_BLANKS)
    several = False
    if text.startswith(b"{") and text.endswith(b"}"):
        key, _, text = text[1:-1].partition(b":")
        key, text = key.strip(_BLANKS), text.strip(_BLANKS)
        if key not in _KEYS:
            return None
        several = key != _KEYS[0]
    is_nested = text[:1] == b"[" and text[1:].lstrip(_BLANKS)[:1] == b"[" and text.endswith(b"]")
    return (text, several) if is_nested and not text.translate(None, b"[]," + _VALUES + _BLANKS) else None


def parse_array(text: bytes) -> np.ndarray:
    """Nested lists of numbers in the shape of the lists: whole ones from 0 to 255 as uint8, others as float32.

    Raises RequestError 400 if the
    lists differ in length, or hold something else.
    """
    shape = _shape(text.translate(None, _VALUES + _BLANKS))
    try:
        values = np.fromstring(text.translate(_BRACKETS_TO_BLANKS), dtype=np.float32, sep=",")
    except (ValueError, DeprecationWarning):  # the latter if warnings are errors; otherwise values are missing
        values = np.empty(0, np.float32)
    compact = text.translate(None, _BLANKS)
    if values.size != np.prod(shape) or any(gap in compact for gap in _GAPS):
        raise RequestError(400, f"the JSON holds an array with values that are not numbers; send {SHAPES}")
    is_whole = not any(sign in text for sign in (b".", b"e", b"E"))
    if is_whole and values.min() >= 0 and values.max() <= 255:
        return values.astype(np.uint8).reshape(shape)
    return values.reshape(shape)


def _shape(skeleton: bytes) -> tuple[int, ...]:
    """Of an array of which only brackets and commas are left. Raises RequestError 400 if it is not regular."""
    dimensions = len(skeleton) - len(skeleton.lstrip(b"["))
    if dimensions > _MOST_DIMENSIONS:
        raise RequestError(400, f"the JSON holds an array of {dimensions} dimensions; send {SHAPES}")
    part = skeleton[dimensions - 1 : skeleton.find(b"]") + 1]
    shape = [part.count(b",") + 1]
    for outer in range(dimensions - 1, 0, -1):
        end = skeleton.find(b"]" * (dimensions - outer + 1), outer) + dimensions - outer
        count = (end - outer + 1) // (len(part) + 1)
        part = b"[" + b",".join([part] * count) + b"]"
        shape.insert(0, count)
    if part != skeleton:
        raise RequestError(400, f"the JSON holds lists of numbers that differ in length; send {SHAPES}")
    return tuple(shape)
