"""What a user's own inference script can use of this package.

`from byoc_vision.serving import decode_image, encode_mask`: the parts that serve our own models, for every image format
that the server reads, with its checks against damaged and hostile files.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from byoc_vision.data.decoding import MAX_PIXELS, read_image
from byoc_vision.errors import DataError, RequestError
from byoc_vision.inference.encoding import encode_png
from byoc_vision.inference.palette import MOST_CLASSES, class_colour

__all__ = ["DataError", "RequestError", "decode_image", "encode_mask"]


def decode_image(body: bytes, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """An image file's content as uint8 RGB [H, W, 3], upright: EXIF orientation is applied.

    Raises:
        DataError: it is cut short, damaged, too large, or not an image. The server turns it into 400 or 413.
    """
    return read_image(bytes(body), max_pixels=max_pixels)


def encode_mask(mask: Any, colours: bool = False) -> bytes:
    """A mask [H, W] of class numbers from 0 to 255, an array or a tensor, as an 8-bit PNG with the same values.

    Args:
        mask: whole numbers or bool.
        colours: store a palette in the PNG, so that viewers show each class in a colour.

    Raises:
        ValueError: the mask has another shape, or values that do not fit.
    """
    array = np.asarray(mask.detach().cpu() if hasattr(mask, "detach") else mask)
    if array.ndim != 2 or array.dtype.kind not in "biu":
        raise ValueError(f"a mask is whole numbers [H, W], not {array.dtype} {list(array.shape)}; take argmax(axis=0)")
    if array.size and (array.min() < 0 or array.max() > 255):
        raise ValueError(f"the mask's values are {array.min()} … {array.max()}; a PNG of 8 bits holds 0 … 255")
    return encode_png(array.astype(np.uint8), _palette() if colours else None)


def _palette() -> np.ndarray:
    """As the server's own masks have it: 0 is the background, black."""
    return np.array([(0, 0, 0), *map(class_colour, range(1, MOST_CLASSES))], np.uint8)
