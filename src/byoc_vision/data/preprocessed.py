"""Samples decoded and fitted to the model, as far as that is the same in every epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from byoc_vision.data.decoding import read_image
from byoc_vision.data.samples import Sample
from byoc_vision.data.targets import read_mask_values, size_problem, values_problem
from byoc_vision.errors import DataError
from byoc_vision.preprocess import IGNORED, Preprocess
from byoc_vision.types import ClassInfo


class PreprocessedImage(NamedTuple):
    """A sample, ready but for what is random.

    image: uint8 [h, w, 3]. target: class indices, uint8 [H, W] with 255 for ignored pixels (segmentation), the label,
    int64 [], or for each class 1 or 0, uint8 [K]. height, width: of the upright image, in pixels.
    """

    image: np.ndarray
    target: np.ndarray
    height: int
    width: int


class PreprocessedImages(Protocol):
    """Where datasets get their samples from: files, or a cache in front of them."""

    def read(self, index: int) -> PreprocessedImage:
        """Raises DataError for a sample that cannot be read."""
        ...


class DecodedImages:
    """Samples read from their files, each time anew.

    for_training: the image is what training cuts its own out of (`Preprocess.resize_for_crop`) and a mask lies over it;
    otherwise the image is the model's input, and a mask keeps the image's own size.
    mask_values: all that a mask may hold; one with others cannot be used. None: what is no class is not counted.
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
        """Raises DataError where a file cannot be read, or the mask has another size than the image or other values
        than it may hold.
        """
        sample = self.samples[index]
        decoded = read_image(sample.image)
        target = self._mask(sample, decoded) if sample.mask is not None else self.label(index)
        height, width = decoded.shape[:2]
        if not self.for_training:
            return PreprocessedImage(self.preprocess.image(decoded), target, height, width)
        image = self.preprocess.resize_for_crop(decoded)
        fitted = self.preprocess.mask(target, fill=IGNORED) if sample.mask is not None else target
        return PreprocessedImage(image, fitted, height, width)

    def label(self, index: int) -> np.ndarray:
        """The target of a sample without a mask."""
        sample = self.samples[index]
        if sample.labels is not None:
            present = np.zeros(self._count, np.uint8)
            present[list(sample.labels)] = 1
            return present
        if sample.label is not None:
            return np.array(sample.label, np.int64)
        raise ValueError(f"{sample.image} has neither mask nor label")

    def _mask(self, sample: Sample, image: np.ndarray) -> np.ndarray:
        values = read_mask_values(sample)
        if values.shape != image.shape[:2]:
            raise DataError(size_problem(sample, image.shape[:2], values.shape))
        mask = cv2.LUT(values, self._index_of_value)
        if self._mask_values is not None and _holds(mask, self._count):
            strange = sorted(set(np.unique(values).tolist()) - self._mask_values)
            if strange:
                raise DataError(values_problem(sample.mask, strange))
        return mask


def class_index_table(classes: Sequence[ClassInfo], mask_values: frozenset[int] | None = None) -> np.ndarray:
    """uint8 [256]: mask value → class index, 255 where the value is no class. For `cv2.LUT(mask, table)`.

    mask_values: where it is given, values that are not among them have the index behind the last class.
    """
    table = np.full(256, IGNORED, np.uint8)
    if mask_values is not None:
        table[[value for value in range(256) if value not in mask_values]] = min(len(classes), IGNORED)
    for index, entry in enumerate(classes):
        if entry.value is not None:
            table[entry.value] = index
    return table


def _holds(mask: np.ndarray, value: int) -> bool:
    """Whether the value occurs, in a mask that holds no higher one but IGNORED."""
    highest = cv2.minMaxLoc(mask)[1]  # in most masks no pixel is ignored, and this tells at once
    return highest == value or (highest > value and bool((mask == value).any()))
