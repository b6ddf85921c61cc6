"""Images small enough to keep and to show, with their masks at the same size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from byoc_vision.inference.difference import difference, difference_palette
from byoc_vision.inference.encoding import encode_jpeg, encode_png
from byoc_vision.inference.overlay import background_classes, class_colours
from byoc_vision.inference.predictor import Prepared, Segmentation
from byoc_vision.preprocess import IGNORED, Preprocess
from byoc_vision.training.predictions.scoring import Answered
from byoc_vision.types import ClassInfo

LONG_SIDE = 320  # pixels
JPEG_QUALITY = 85
_NOT_COUNTED = (128, 128, 128)


@dataclass(frozen=True)
class Thumbnail:
    """An image, uint8 RGB [h, w, 3], and class indices, uint8 [h, w], where they are masks.

    height, width: of the image itself, in pixels.
    """

    rgb: np.ndarray
    height: int
    width: int
    target: np.ndarray | None = None
    labels: np.ndarray | None = None

    def files(self, classes: Sequence[ClassInfo]) -> dict[str, bytes]:
        """What shows it: `image.jpg` and, of masks, `target.png`, `prediction.png` and `difference.png`."""
        files = {"picture.jpg": encode_jpeg(self.rgb, JPEG_QUALITY)}
        if self.target is not None and self.labels is not None:
            palette = class_palette(classes)
            kinds = difference(self.labels, self.target, background_classes(classes))
            files["truth.png"] = encode_png(self.target, palette)
            files["prediction.png"] = encode_png(self.labels, palette)
            files["difference.png"] = encode_png(kinds, difference_palette())
        return files


def make_thumbnail(rule: Preprocess, prepared: Prepared, image: Answered) -> Thumbnail:
    """What the model saw, in the image's proportions; with `short_side` the part of it that is not cut off."""
    height, width = prepared.height, prepared.width
    window = rule.window(height, width)
    seen = prepared.pixels[window.top : window.top + window.height, window.left : window.left + window.width]
    size = fitting_size(*(seen.shape[:2] if rule.resize == "short_side" else (height, width)))
    if not isinstance(image.answer, Segmentation):
        return Thumbnail(shrunk(seen, size), height, width)
    target, labels = (_nearest(mask, size) for mask in (image.target, image.answer.labels))
    return Thumbnail(shrunk(seen, size), height, width, target, labels)


def fitting_size(height: int, width: int) -> tuple[int, int]:
    """These proportions with a long side of LONG_SIDE at the most."""
    scale = min(1.0, LONG_SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def shrunk(rgb: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A copy in this height and width: what it is cut from need not be kept."""
    smaller = size[0] < rgb.shape[0] or size[1] < rgb.shape[1]
    return _resized(rgb, size, cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)


def class_palette(classes: Sequence[ClassInfo]) -> np.ndarray:
    """The colour of each class index, uint8 [256, 3] RGB: those of an overlay, black for the background."""
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(classes)] = class_colours(len(classes))
    palette[list(background_classes(classes))] = 0
    palette[IGNORED] = _NOT_COUNTED
    return palette


def _nearest(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return _resized(mask, size, cv2.INTER_NEAREST_EXACT)


def _resized(pixels: np.ndarray, size: tuple[int, int], interpolation: int) -> np.ndarray:
    return cv2.resize(np.ascontiguousarray(pixels), size[::-1], interpolation=interpolation).copy()
