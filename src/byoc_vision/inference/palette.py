"""The colour of each class, and the classes that are not drawn; the same for files and for the server's page.

This module imports nothing slow: the server shows the page before it has loaded a model.
"""

from __future__ import annotations

import math

Colour = tuple[int, int, int]  # red, green and blue, 0–255

MOST_CLASSES = 256
NAMES_OF_BACKGROUND = ("background", "class_0", "#000000", "unlabeled", "unlabelled", "void")

_GOLDEN_ANGLE = 137.508  # degrees: neighbouring classes differ, for any number of classes
_FIRST_HUE = 250
_CHROMA = 0.17
_LIGHTNESSES = (0.62, 0.7, 0.84)  # so that similar hues differ in lightness


def class_colour(index: int) -> Colour:
    """The colour of the class with an index."""
    hue = math.radians(_FIRST_HUE + index * _GOLDEN_ANGLE)
    lightness = _LIGHTNESSES[index % len(_LIGHTNESSES)]
    return _from_oklab(lightness, _CHROMA * math.cos(hue), _CHROMA * math.sin(hue))


def is_background(index: int, name: str, count: int) -> bool:
    """Whether a class is not drawn: the first of two classes, and every class with the name of a background."""
    return (count == 2 and index == 0) or name.lower() in NAMES_OF_BACKGROUND


def _from_oklab(lightness: float, a: float, b: float) -> Colour:
    """Björn Ottosson, "A perceptual color space for image processing", 2020. Colours outside sRGB are clipped."""
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3
    return (
        _to_srgb(4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short),
        _to_srgb(-1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short),
        _to_srgb(-0.0041960863 * long - 0.7034186147 * medium + 1.707614701 * short),
    )


def _to_srgb(linear: float) -> int:
    encoded = 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055
    return round(255 * min(1.0, max(0.0, encoded)))
