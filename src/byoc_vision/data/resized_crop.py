"""Random resized crops of training images, for classification.

Szegedy et al., "Going Deeper with Convolutions", 2015, as torchvision's RandomResizedCrop has them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from byoc_vision.preprocess import with_bands

_LONGEST = 4 / 3  # a part's sides, relative to the proportions of what it is resized to
_TRIES = 10  # to draw a part that fits into the image


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
