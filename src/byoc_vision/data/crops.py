"""The parts of images that training takes: of random place and magnification.

`ResizedCrop`: Szegedy et al., "Going Deeper with Convolutions", 2015, as torchvision's RandomResizedCrop has it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from byoc_vision.preprocess import IGNORED, crop, with_bands

_JITTER = 0.25  # of the crop: how far from its centre a chosen pixel may lie
_MOST_TARGETS = 4096  # pixels among which one is drawn: looking at all of a mask takes longer than to train on it
_LONGEST = 4 / 3  # a part's sides, relative to the proportions of what it is resized to
_TRIES = 10  # to draw a part that fits into the image


@dataclass(frozen=True)
class RandomCrop:
    """Cuts the same part out of an image and its mask.

    height, width: of what it returns, in pixels. scale: the range of the magnification, drawn evenly by its logarithm;
    the proportions are kept. What lies outside of the image is mirrored, and ignored in the mask.
    by_class: the share of crops around a pixel of a class that is drawn evenly among those of the image, so that small
    objects are seen as often as large ones; the others are placed at random.
    """

    height: int
    width: int
    scale: tuple[float, float] = (1.0, 1.0)
    by_class: float = 0.0

    def __call__(self, image: np.ndarray, mask: np.ndarray | None, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
        """uint8 [H, W, 3] and [H, W] to [height, width, 3] and [height, width]."""
        random = np.random.default_rng(seed)
        place = (float(random.random()), float(random.random()))
        if mask is None:
            return crop(image, self.height, self.width, place), None
        if self.scale == (1.0, 1.0) and not self.by_class:
            return crop(image, self.height, self.width, place), crop(mask, self.height, self.width, place)
        low, high = self.scale
        scale = math.exp(random.uniform(math.log(low), math.log(high)))
        height, width = max(1, round(self.height / scale)), max(1, round(self.width / scale))
        centre = self._pixel(mask, random) if random.random() < self.by_class else None
        top = self._start(mask.shape[0], height, place[0], None if centre is None else centre[0], random)
        left = self._start(mask.shape[1], width, place[1], None if centre is None else centre[1], random)
        part, labels = _window(image, top, left, height, width), _window(mask, top, left, height, width, IGNORED)
        size = (self.width, self.height)
        resized = cv2.resize(part, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        return with_bands(resized, part), cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST_EXACT)

    @staticmethod
    def _start(whole: int, part: int, place: float, centre: int | None, random: np.random.Generator) -> int:
        """Where the part begins; negative, or so that it ends outside, if it is larger than the whole."""
        spare = whole - part
        if spare <= 0:  # all of the image is in it
            return -int(place * (1 - spare))
        if centre is None:
            return int(place * (spare + 1))
        start = centre - part / 2 + random.uniform(-_JITTER, _JITTER) * part
        return int(min(max(start, 0), spare))

    @staticmethod
    def _pixel(mask: np.ndarray, random: np.random.Generator) -> tuple[int, int] | None:
        """A pixel of a class that is drawn evenly; None if no pixel counts."""
        step = max(1, math.isqrt(mask.size // _MOST_TARGETS))
        seen = mask[::step, ::step]
        classes = np.flatnonzero(np.bincount(seen.ravel(), minlength=256)[:IGNORED])
        if not len(classes):
            return None
        rows, columns = np.nonzero(seen == random.choice(classes))
        chosen = random.integers(len(rows))
        return int(rows[chosen]) * step, int(columns[chosen]) * step


def _window(pixels: np.ndarray, top: int, left: int, height: int, width: int, fill: int | None = None) -> np.ndarray:
    """The part of an image; what lies outside is `fill`, or mirrored."""
    bottom, right = top + height, left + width
    inner = np.ascontiguousarray(pixels[max(0, top) : bottom, max(0, left) : right])
    sides = (max(0, -top), max(0, bottom - pixels.shape[0]), max(0, -left), max(0, right - pixels.shape[1]))
    if not any(sides):
        return inner
    if fill is not None:
        return cv2.copyMakeBorder(inner, *sides, cv2.BORDER_CONSTANT, value=fill)
    return with_bands(cv2.copyMakeBorder(inner, *sides, cv2.BORDER_REFLECT), inner)


@dataclass(frozen=True)
class ResizedCrop:
    """Takes a random part of each image and resizes it to `height` × `width`.

    least_area: the least share of the image's area; 1: the largest part with the proportions of `height` × `width`.
    """

    height: int
    width: int
    least_area: float = 1.0

    def __call__(self, image: np.ndarray, mask: np.ndarray | None, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
        """image: uint8 [H, W, channels]. mask: None, since labels are of whole images; it is returned as it is."""
        random = np.random.default_rng(seed)
        height, width = self._part(image.shape[0], image.shape[1], random)
        top = int(random.integers(image.shape[0] - height + 1))
        left = int(random.integers(image.shape[1] - width + 1))
        part = np.ascontiguousarray(image[top : top + height, left : left + width])
        shrinks = height > self.height and width > self.width
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        return with_bands(cv2.resize(part, (self.width, self.height), interpolation=interpolation), part), mask

    def _part(self, height: int, width: int, random: np.random.Generator) -> tuple[int, int]:
        """Height and width of the part of an image of `height` × `width`."""
        proportions = self.width / self.height
        if self.least_area < 1:
            for _ in range(_TRIES):
                area = random.uniform(self.least_area, 1) * height * width
                ratio = proportions * math.exp(random.uniform(-math.log(_LONGEST), math.log(_LONGEST)))
                rows, columns = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
                if 0 < rows <= height and 0 < columns <= width:
                    return rows, columns
        scale = min(height, width / proportions)
        return max(1, min(height, round(scale))), max(1, min(width, round(scale * proportions)))
