"""The pictures of samples as uint8 tensors, with their truth. The model normalises: bytes are cheaper to move."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset

from byoc_vision.data.augmentation import Augmentation
from byoc_vision.data.decoding import read_picture
from byoc_vision.data.preprocess import Preprocess
from byoc_vision.data.samplers import Draw, mixed_seed
from byoc_vision.data.samples import DataClass, Sample
from byoc_vision.data.truths import read_mask_values

IGNORED = 255  # the class index of pixels that no loss and no metric counts


class Example(NamedTuple):
    """A training sample.

    image: uint8 [3, h, w]. truth: class indices, uint8 [h, w] with 255 for ignored pixels (segmentation),
    or the label, int64 [] (classification). In a batch each has N in front.
    """

    image: torch.Tensor
    truth: torch.Tensor


class EvaluationExample(NamedTuple):
    """A sample as a predictor sees it, and its truth as the user gave it.

    image: the model's input, uint8 [3, h, w]. height, width: of the upright picture, in pixels.
    truth: class indices at that size, uint8 [height, width] with 255 for ignored pixels, or the label, int64 [].
    sample_index: its place among the samples.
    """

    image: torch.Tensor
    height: int
    width: int
    truth: np.ndarray
    sample_index: int


class PictureDataset(TorchDataset[Example]):
    """Samples for training, augmented. Index it with a `Draw`; a plain index means the first epoch."""

    def __init__(
        self,
        samples: Sequence[Sample],
        classes: Sequence[DataClass],
        preprocess: Preprocess,
        augmentation: Augmentation,
        seed: int = 0,
    ) -> None:
        self.samples = samples
        self.preprocess = preprocess
        self.augmentation = augmentation
        self.seed = seed
        self._index_of_value = class_index_table(classes)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, draw: Draw | int) -> Example:
        index, epoch, repetition = draw if isinstance(draw, Draw) else Draw(draw, 0)
        sample = self.samples[index]
        image = self.preprocess.image(read_picture(sample.image))
        truth = _truth(sample, self._index_of_value)
        mask = self.preprocess.mask(truth, fill=IGNORED) if truth.ndim else None
        augmented = self.augmentation(image, mask, mixed_seed(self.seed, epoch, index, repetition))
        changed = truth if augmented.mask is None else np.ascontiguousarray(augmented.mask)
        return Example(_as_tensor(augmented.image), torch.from_numpy(changed))


class EvaluationDataset(TorchDataset[EvaluationExample]):
    """Samples for evaluation: the input that the predictor would prepare, and the truth at the picture's own size."""

    def __init__(self, samples: Sequence[Sample], classes: Sequence[DataClass], preprocess: Preprocess) -> None:
        self.samples = samples
        self.preprocess = preprocess
        self._index_of_value = class_index_table(classes)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> EvaluationExample:
        sample = self.samples[index]
        picture = read_picture(sample.image)
        height, width = picture.shape[:2]
        truth = _truth(sample, self._index_of_value)
        return EvaluationExample(_as_tensor(self.preprocess.image(picture)), height, width, truth, index)


def class_index_table(classes: Sequence[DataClass]) -> np.ndarray:
    """uint8 [256]: mask value → class index, 255 where the value is no class. For `cv2.LUT(mask, table)`."""
    table = np.full(256, IGNORED, np.uint8)
    for index, entry in enumerate(classes):
        if entry.value is not None:
            table[entry.value] = index
    return table


def _truth(sample: Sample, index_of_value: np.ndarray) -> np.ndarray:
    """Class indices, uint8 [H, W], or a label, int64 []."""
    if sample.mask is not None:
        return cv2.LUT(read_mask_values(sample), index_of_value)
    if sample.label is not None:
        return np.array(sample.label, np.int64)
    raise ValueError(f"{sample.image} has neither mask nor label")


def _as_tensor(image: np.ndarray) -> torch.Tensor:
    """uint8 [h, w, 3] → [3, h, w]"""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
