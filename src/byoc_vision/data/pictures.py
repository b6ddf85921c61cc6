"""The pictures of samples as uint8 tensors, with their truth. The model normalises: bytes are cheaper to move."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset

from byoc_vision.data.augmentation import Augmentation
from byoc_vision.data.bad_samples import BadSamples, OnBadSample, Unreadable
from byoc_vision.data.decoding import read_picture
from byoc_vision.data.preprocess import IGNORED, Preprocess, crop
from byoc_vision.data.samplers import Draw, mixed_seed
from byoc_vision.data.samples import DataClass, Sample
from byoc_vision.data.truths import read_mask_values
from byoc_vision.errors import DataError

MOST_BAD_IN_A_ROW = 10  # that on_bad_sample=skip passes over

Read = TypeVar("Read")


class Example(NamedTuple):
    """A training sample.

    image: uint8 [3, h, w]. truth: class indices, uint8 [h, w] with 255 for ignored pixels (segmentation),
    the label, int64 [] (classification), or for each class 1 or 0, uint8 [K] (multi-label classification).
    In a batch each has N in front.
    """

    image: torch.Tensor
    truth: torch.Tensor


class EvaluationExample(NamedTuple):
    """A sample as a predictor sees it, and its truth as the user gave it.

    image: the model's input, uint8 [3, h, w]. height, width: of the upright picture, in pixels.
    truth: class indices at that size, uint8 [height, width] with 255 for ignored pixels, or as `Example` has it.
    sample_index: its place among the samples.
    """

    image: torch.Tensor
    height: int
    width: int
    truth: np.ndarray
    sample_index: int


class PictureDataset(TorchDataset[Example]):
    """Samples for training, augmented. Index it with a `Draw`; a plain index means the first epoch.

    crop_size: height and width of a random part of each resized picture and mask, which is all that is trained on.
    on_bad_sample: with `skip` the next sample that can be read takes the place of one that cannot.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        classes: Sequence[DataClass],
        preprocess: Preprocess,
        augmentation: Augmentation,
        seed: int = 0,
        *,
        crop_size: tuple[int, int] | None = None,
        on_bad_sample: OnBadSample = "fail",
    ) -> None:
        self.samples = samples
        self.preprocess = preprocess
        self.augmentation = augmentation
        self.seed = seed
        self.crop_size = crop_size
        self._truths = Truths(classes)
        self._skipped = BadSamples(len(samples)) if on_bad_sample == "skip" else None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the examples, in pixels."""
        return self.crop_size or (self.preprocess.height, self.preprocess.width)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, draw: Draw | int) -> Example:
        """Raises DataError for a sample that cannot be read; with `skip` where the next ones cannot either."""
        index, epoch, repetition = draw if isinstance(draw, Draw) else Draw(draw, 0)
        seed = mixed_seed(self.seed, epoch, index, repetition)
        if self._skipped is None:
            return self._example(index, seed)
        tried = [(index + step) % len(self) for step in range(min(len(self), MOST_BAD_IN_A_ROW + 1))]
        for candidate in tried:
            try:
                return self._example(candidate, seed)
            except DataError as error:
                self._skipped.warn(candidate, error, "the next sample takes its place")
                last = error
        raise DataError(
            f"{len(tried)} samples in a row cannot be read, more than on_bad_sample=skip passes over; "
            f"mend or copy them again. The last: {last}"
        )

    def __getitems__(self, draws: Sequence[Draw | int]) -> list[Example | Unreadable]:
        """As a loader's process asks for a batch."""
        return [_unless_unreadable(self, draw) for draw in draws]

    def _example(self, index: int, seed: int) -> Example:
        sample = self.samples[index]
        down, right = np.random.default_rng(mixed_seed(seed, 1)).random(2)  # another stream than the augmentation's
        picture, truth = self._truths.read(sample)
        image, mask = self.preprocess.image(picture, (down, right) if self.preprocess.short_side else None), None
        if truth.ndim == 2:
            mask = self.preprocess.mask(truth, fill=IGNORED)
        if mask is not None and self.crop_size is not None:
            image, mask = (crop(pixels, *self.crop_size, (down, right)) for pixels in (image, mask))
        augmented = self.augmentation(image, mask, seed)
        changed = truth if augmented.mask is None else np.ascontiguousarray(augmented.mask)
        return Example(_as_tensor(augmented.image), torch.from_numpy(changed))


class EvaluationDataset(TorchDataset[EvaluationExample]):
    """Samples for evaluation: the input that the predictor would prepare, and the truth at the picture's own size.

    on_bad_sample: with `skip` a sample that cannot be read is warned of; the loader leaves it out.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        classes: Sequence[DataClass],
        preprocess: Preprocess,
        *,
        on_bad_sample: OnBadSample = "fail",
    ) -> None:
        self.samples = samples
        self.preprocess = preprocess
        self._truths = Truths(classes)
        self._skipped = BadSamples(len(samples)) if on_bad_sample == "skip" else None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the examples' images, in pixels."""
        return self.preprocess.height, self.preprocess.width

    @property
    def skips(self) -> bool:
        """Whether samples that cannot be read are left out."""
        return self._skipped is not None

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> EvaluationExample:
        """Raises DataError for a sample that cannot be read."""
        try:
            picture, truth = self._truths.read(self.samples[index])
        except DataError as error:
            if self._skipped is not None:
                self._skipped.warn(index, error, "it is left out of the figures")
            raise
        height, width = picture.shape[:2]
        return EvaluationExample(_as_tensor(self.preprocess.image(picture)), height, width, truth, index)

    def __getitems__(self, indices: Sequence[int]) -> list[EvaluationExample | Unreadable]:
        """As a loader's process asks for a batch."""
        return [_unless_unreadable(self, index) for index in indices]


class Truths:
    """Reads samples with their truth, in terms of the model's classes."""

    def __init__(self, classes: Sequence[DataClass]) -> None:
        self.count = len(classes)
        self._index_of_value = class_index_table(classes)

    def read(self, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
        """The picture, uint8 [H, W, 3], and its truth as `Example` has it, of a mask at the picture's size.

        Raises DataError where a file cannot be read, or the mask has another size than the picture.
        """
        picture, truth = read_picture(sample.image), self._truth(sample)
        if truth.ndim == 2 and truth.shape != picture.shape[:2]:
            raise DataError(
                f"{sample.mask} has {truth.shape[0]} × {truth.shape[1]} pixels, its picture {sample.image} "
                f"{picture.shape[0]} × {picture.shape[1]}; a mask has the size of its picture"
            )
        return picture, truth

    def _truth(self, sample: Sample) -> np.ndarray:
        if sample.mask is not None:
            return cv2.LUT(read_mask_values(sample), self._index_of_value)
        if sample.labels is not None:
            present = np.zeros(self.count, np.uint8)
            present[list(sample.labels)] = 1
            return present
        if sample.label is not None:
            return np.array(sample.label, np.int64)
        raise ValueError(f"{sample.image} has neither mask nor label")


def class_index_table(classes: Sequence[DataClass]) -> np.ndarray:
    """uint8 [256]: mask value → class index, 255 where the value is no class. For `cv2.LUT(mask, table)`."""
    table = np.full(256, IGNORED, np.uint8)
    for index, entry in enumerate(classes):
        if entry.value is not None:
            table[entry.value] = index
    return table


def _unless_unreadable(dataset: TorchDataset[Read], key: Any) -> Read | Unreadable:
    try:
        return dataset[key]
    except DataError as error:
        return Unreadable(str(error))


def _as_tensor(image: np.ndarray) -> torch.Tensor:
    """uint8 [h, w, 3] → [3, h, w]"""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
