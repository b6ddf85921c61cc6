"""A picture with its answer drawn on it, for people."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from byoc_vision.client.images import Picture, as_rgb, open_upright
from byoc_vision.errors import DataError
from byoc_vision.inference.palette import class_colour

Classes = Sequence[tuple[str, float]]

_SHOWN = 3  # classes
_YES_AND_NO = frozenset({0, 255})  # the values of many masks of two classes


def draw(image: Picture, answer: Image.Image | np.ndarray | Classes, *, opacity: float = 0.5) -> Image.Image:
    """The picture, upright and RGB, with its mask in colours over it, or its likeliest classes written on it.

    answer: what `predict_mask` or `predict_classes` returned. A mask that was asked for with palette=True has the
    colours of the server's own page; otherwise each value has one of its own, and 0 is not drawn.
    Raises DataError where picture and mask differ in size.
    """
    picture = as_rgb(open_upright(image))
    if isinstance(answer, Image.Image | np.ndarray):
        return _with_mask(picture, answer, opacity)
    return _with_text(picture, classes_text(answer[:_SHOWN]))


def classes_text(classes: Classes) -> str:
    """A line for each class: `dress 93.1 %`."""
    return "\n".join(f"{name} {100 * probability:.1f} %" for name, probability in classes)


def _with_mask(picture: Image.Image, mask: Image.Image | np.ndarray, opacity: float) -> Image.Image:
    values = np.asarray(mask)
    if values.shape != (picture.height, picture.width):
        size = " × ".join(str(side) for side in values.shape[1::-1])
        raise DataError(f"the mask has {size} pixels, the picture {picture.width} × {picture.height}; ask for it again")
    colours = _colours(mask, values)
    drawn = (colours.max(axis=1) > 0)[values]
    pixels = np.array(picture)
    pixels[drawn] = (1 - opacity) * pixels[drawn] + opacity * colours[values[drawn]]
    return Image.fromarray(pixels)


def _colours(mask: Image.Image | np.ndarray, values: np.ndarray) -> np.ndarray:
    """Of each pixel value, uint8 [256, 3]; black is not drawn."""
    colours = np.zeros((256, 3), np.uint8)
    if isinstance(mask, Image.Image) and mask.mode == "P":
        own = np.array(mask.getpalette("RGB"), np.uint8).reshape(-1, 3)
        colours[: len(own)] = own
    else:
        colours[1:] = [class_colour(value) for value in range(1, 256)]
        if _YES_AND_NO.issuperset(np.unique(values).tolist()):
            colours[255] = class_colour(1)
    return colours


def _with_text(picture: Image.Image, text: str) -> Image.Image:
    drawn = picture.copy()
    pen = ImageDraw.Draw(drawn, "RGBA")
    size = max(10, min(picture.size) // 16)
    font = ImageFont.load_default(size)
    corner = (size // 2, size // 2)
    left, top, right, bottom = pen.multiline_textbbox(corner, text, font)
    margin = size // 4
    pen.rectangle((left - margin, top - margin, right + margin, bottom + margin), fill=(0, 0, 0, 160))
    pen.multiline_text(corner, text, "white", font)
    return drawn
