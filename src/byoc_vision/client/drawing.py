"""An image with its prediction drawn on it, for people."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from byoc_vision.client.images import ImageInput, as_rgb, open_upright
from byoc_vision.errors import DataError
from byoc_vision.inference.palette import class_colour

Classes = Sequence[tuple[str, float]]

_SHOWN = 3  # classes
_TWO_VALUES = frozenset({0, 255})  # the values of many masks of two classes


def draw(image: ImageInput, prediction: Image.Image | np.ndarray | Classes, *, opacity: float = 0.5) -> Image.Image:
    """The image, upright and RGB, with its mask in colours over it, or its likeliest classes written on it.

    prediction: what `predict_mask` or `predict_classes` returned. A mask requested with palette=True has the colours
    of the server's page; otherwise each value has its own colour, and 0 is not drawn.
    Raises DataError if image and mask differ in size.
    """
    rgb = as_rgb(open_upright(image))
    if isinstance(prediction, Image.Image | np.ndarray):
        return _with_mask(rgb, prediction, opacity)
    return _with_text(rgb, classes_text(prediction[:_SHOWN]))


def classes_text(classes: Classes) -> str:
    """A line for each class: `dress 93.1 %`."""
    return "\n".join(f"{name} {100 * probability:.1f} %" for name, probability in classes)


def _with_mask(image: Image.Image, mask: Image.Image | np.ndarray, opacity: float) -> Image.Image:
    values = np.asarray(mask)
    if values.shape != (image.height, image.width):
        size = " × ".join(str(side) for side in values.shape[1::-1])
        raise DataError(f"the mask has {size} pixels, the image {image.width} × {image.height}; predict it again")
    colours = _colours(mask, values)
    drawn = (colours.max(axis=1) > 0)[values]
    pixels = np.array(image)
    pixels[drawn] = (1 - opacity) * pixels[drawn] + opacity * colours[values[drawn]]
    return Image.fromarray(pixels)


def _colours(mask: Image.Image | np.ndarray, values: np.ndarray) -> np.ndarray:
    """The colour of each pixel value, uint8 [256, 3]; black is not drawn."""
    colours = np.zeros((256, 3), np.uint8)
    if isinstance(mask, Image.Image) and mask.mode == "P":
        own = np.array(mask.getpalette("RGB"), np.uint8).reshape(-1, 3)
        colours[: len(own)] = own
    else:
        colours[1:] = [class_colour(value) for value in range(1, 256)]
        if _TWO_VALUES.issuperset(np.unique(values).tolist()):
            colours[255] = class_colour(1)
    return colours


def _with_text(image: Image.Image, text: str) -> Image.Image:
    drawn = image.copy()
    pen = ImageDraw.Draw(drawn, "RGBA")
    size = max(10, min(image.size) // 16)
    font = ImageFont.load_default(size)
    corner = (size // 2, size // 2)
    left, top, right, bottom = pen.multiline_textbbox(corner, text, font)
    margin = size // 4
    pen.rectangle((left - margin, top - margin, right + margin, bottom + margin), fill=(0, 0, 0, 160))
    pen.multiline_text(corner, text, "white", font)
    return drawn
