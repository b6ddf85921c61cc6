"""Samples decoded and resized for the model: the part that is the same in every epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from byoc_vision.data.bands import read_pixels
from byoc_vision.data.decoding import Content, read_content
from byoc_vision.data.samples import Sample
from byoc_vision.data.targets import read_mask_values, size_problem, values_problem
from byoc_vision.errors import DataError
from byoc_vision.preprocess import IGNORED, Preprocess
from byoc_vision.types import ClassInfo


class PreprocessedImage(NamedTuple):
    """A sample before random augmentation.

    image: uint8 [h, w, 3], or [h, w, bands]. target: class indices, uint8 [H, W] with 255 for ignored pixels
    (segmentation); the label, int64 []; or 1 or 0 for each class, uint8 [K]. height, width: of the upright image, in
    pixels.
    """

    image: np.ndarray
    target: np.ndarray
    height: int
    width: int


class PreprocessedImages(Protocol):
    """A source of samples: files, or a cache in front of them."""

    def read(self, index: int) -> PreprocessedImage:
        """Raises DataError for a sample that cannot be read."""
        ...


class DecodedImages:
    """Samples read from their files each time.

    for_training: the image is prepared for random crops (`Preprocess.resize_for_crop`), and a mask has the same size;
    otherwise the image is the model's input, and a mask keeps the original size.
    mask_values: all values that a mask may hold; a mask with others is invalid. None: other values are ignored.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        classes: Sequence[ClassInfo],
        preprocess: Preprocess,
        *,
        for_training: bool,
        mask_values: frozenset[int] | None = None,
    ) -> None:
        self.samples = samples
        self.preprocess = preprocess
        self.for_training = for_training
        self._count = len(classes)
        self._mask_values = mask_values
        self._index_of_value = class_index_table(classes, mask_values)

    def read(self, index: int) -> PreprocessedImage:
        """Raises DataError if a file cannot be read, or the mask has another size than the image or unknown values."""
        sample = self.samples[index]
        content = read_content(sample.image)
        decoded = read_pixels(content, self.preprocess.bands)
        target = self._mask(sample, content, decoded) if sample.mask is not None else self.label(index)
        height, width = decoded.shape[:2]
        if not self.for_training:
            return PreprocessedImage(self.preprocess.image(decoded), target, height, width)
        image = self.preprocess.resize_for_crop(decoded)
        mask = self.preprocess.mask(target, fill=IGNORED) if sample.mask is not None else target
        return PreprocessedImage(image, mask, height, width)

    def label(self, index: int) -> np.ndarray:
        """The target of a sample without a mask."""
        sample = self.samples[index]
        if sample.labels is not None:
            present = np.zeros(self._count, np.uint8)
            present[list(sample.labels)] = 1
            return present
        if sample.label is not None:
            return np.array(sample.label, np.int64)
        raise ValueError(f"{sample.image} has neither a mask nor a label")

    def _mask(self, sample: Sample, content: Content, image: np.ndarray) -> np.ndarray:
        values = read_mask_values(sample, size=image.shape[:2], image=content)
        if values.shape != image.shape[:2]:
            raise DataError(size_problem(sample, image.shape[:2], values.shape))
        mask = cv2.LUT(values, self._index_of_value)
        if self._mask_values is not None and _holds(mask, self._count):
            unknown = sorted(set(np.unique(values).tolist()) - self._mask_values)
            if unknown:
                raise DataError(values_problem(sample.mask, unknown))
        return mask


def class_index_table(classes: Sequence[ClassInfo], mask_values: frozenset[int] | None = None) -> np.ndarray:
    """uint8 [256]: mask value → class index, 255 for values without a class. For `cv2.LUT(mask, table)`.

    mask_values: if given, other values get the index after the last class.
    """
    table = np.full(256, IGNORED, np.uint8)
    if mask_values is not None:
        table[[value for value in range(256) if value not in mask_values]] = min(len(classes), IGNORED)
    for index, entry in enumerate(classes):
        if entry.value is not None:
            table[entry.value] = index
    return table


def _holds(mask: np.ndarray, value: int) -> bool:
    """Whether a mask holds the value, if it holds no higher one except IGNORED."""
    highest = cv2.minMaxLoc(mask)[1]  # decides at once for masks without ignored pixels
    return highest == value or (highest > value and bool((mask == value).any()))
