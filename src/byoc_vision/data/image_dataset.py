"""The images of samples as uint8 tensors, with their targets. The model normalises: bytes are cheaper to move."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset

from byoc_vision.data.augmentation import Augmentation
from byoc_vision.data.cache import CachePart, with_cache
from byoc_vision.data.crops import RandomCrop, ResizedCrop
from byoc_vision.data.preprocessed import DecodedImages, PreprocessedImage
from byoc_vision.data.samplers import SampleKey, mixed_seed
from byoc_vision.data.samples import OnBadSample, Sample
from byoc_vision.errors import DataError
from byoc_vision.preprocess import Preprocess
from byoc_vision.types import ClassInfo

logger = logging.getLogger(__name__)


class Unreadable(NamedTuple):
    """Takes the place of a sample that cannot be read.

    A loader process returns this instead of raising: its reader would get the error as a traceback.
    """

    reason: str


class UnreadableSampleError(DataError):
    """A loader met an invalid sample. There may be more."""


class BadSamples:
    """The samples found invalid so far, shared by all loader processes: each causes one warning."""

    def __init__(self, count: int) -> None:
        self._known = torch.zeros(count, dtype=torch.bool).share_memory_()  # type: ignore[no-untyped-call]
        self._lock = multiprocessing.Lock()

    def warn(self, index: int, error: DataError, consequence: str) -> None:
        with self._lock:
            if self._known[index]:
                return
            self._known[index] = True
        logger.warning("%s; %s (on_bad_sample=skip)", error, consequence)


MOST_BAD_IN_A_ROW = 10  # that on_bad_sample=skip accepts

Read = TypeVar("Read")


class Example(NamedTuple):
    """A training sample.

    image: uint8 [3, h, w]. target: class indices, uint8 [h, w] with 255 for ignored pixels (segmentation);
    the label, int64 [] (classification); or 1 or 0 for each class, uint8 [K] (multi-label classification); of mixed
    images the shares of the classes, float32 [K].
    In a batch each shape begins with N.
    """

    image: torch.Tensor
    target: torch.Tensor


Crop = RandomCrop | ResizedCrop
MixExamples = Callable[[Sequence[Example], int], list[Example]]  # of a batch, with its seed


class EvaluationExample(NamedTuple):
    """A sample as the predictor sees it, and its target at the original size.

    image: the model's input, uint8 [3, h, w]. height, width: of the upright image, in pixels.
    target: class indices at that size, uint8 [height, width] with 255 for ignored pixels, or as in `Example`.
    sample_index: its index among the samples.
    """

    image: torch.Tensor
    height: int
    width: int
    target: np.ndarray
    sample_index: int


class ImageDataset(TorchDataset[Example]):
    """Samples for training, augmented. Index it with a `SampleKey`; a plain index means the first epoch.

    crop: takes a random part of each resized image and mask; training uses only this part, resized or as it is. By
        default as large as the model's input.
    mixing: mixes the examples of each batch.
    on_bad_sample: with `skip` the next readable sample replaces one that cannot be read.
    cache: decoded images are kept here from the first epoch on; the examples are the same without it.
    mask_values: all values that a mask may hold; a mask with others is invalid. None: other values are ignored.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        classes: Sequence[ClassInfo],
        preprocess: Preprocess,
        augmentation: Augmentation,
        seed: int = 0,
        *,
        crop: Crop | None = None,
        mixing: MixExamples | None = None,
        on_bad_sample: OnBadSample = "fail",
        cache: CachePart | None = None,
        mask_values: frozenset[int] | None = None,
    ) -> None:
        self.samples = samples
        self.preprocess = preprocess
        self.augmentation = augmentation
        self.seed = seed
        self.crop = crop or RandomCrop(preprocess.height, preprocess.width)
        self.mixing = mixing
        decoded = DecodedImages(samples, classes, preprocess, for_training=True, mask_values=mask_values)
        self._images = with_cache(decoded, cache)
        self._skipped = BadSamples(len(samples)) if on_bad_sample == "skip" else None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the examples, in pixels."""
        return self.crop.height, self.crop.width

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, draw: SampleKey | int) -> Example:
        """Raises DataError for a sample that cannot be read; with `skip` where the next ones cannot either."""
        index, seed = draw[0] if isinstance(draw, SampleKey) else draw, self._seed(draw)
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
            f"{len(tried)} samples in a row cannot be read, more than on_bad_sample=skip accepts; "
            f"fix or copy them again. The last: {last}"
        )

    def preprocessed(self, index: int) -> PreprocessedImage:
        """A sample before random augmentation. Raises DataError if it cannot be read."""
        return self._images.read(index)

    def __getitems__(self, keys: Sequence[SampleKey | int]) -> list[Example | Unreadable]:
        """The way a loader process requests a batch. How it is mixed depends on its keys alone."""
        examples = [_unless_unreadable(self, key) for key in keys]
        read = [example for example in examples if isinstance(example, Example)]
        if self.mixing is None or len(read) < len(examples):
            return examples
        return [*self.mixing(read, mixed_seed(self._seed(keys[0]), 2))]

    def _seed(self, draw: SampleKey | int) -> int:
        index, epoch, repetition = draw if isinstance(draw, SampleKey) else SampleKey(draw, 0)
        return mixed_seed(self.seed, epoch, index, repetition)

    def _example(self, index: int, seed: int) -> Example:
        sample = self.preprocessed(index)
        target = sample.target if sample.target.ndim == 2 else None
        image, mask = self.crop(sample.image, target, mixed_seed(seed, 1))  # independent of the augmentation
        augmented = self.augmentation(image, mask, seed)
        target = sample.target if augmented.mask is None else np.ascontiguousarray(augmented.mask)
        return Example(_as_tensor(augmented.image), torch.from_numpy(target))


class EvaluationDataset(TorchDataset[EvaluationExample]):
    """Samples for evaluation: the same input as the predictor makes, and the target at the original size.

    on_bad_sample: with `skip` a sample that cannot be read causes a warning, and the loader leaves it out.
    mask_values: as in `ImageDataset`.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        classes: Sequence[ClassInfo],
        preprocess: Preprocess,
        *,
        on_bad_sample: OnBadSample = "fail",
        cache: CachePart | None = None,
        mask_values: frozenset[int] | None = None,
    ) -> None:
        self.samples = samples
        self.preprocess = preprocess
        decoded = DecodedImages(samples, classes, preprocess, for_training=False, mask_values=mask_values)
        self._images = with_cache(decoded, cache)
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
            sample = self._images.read(index)
        except DataError as error:
            if self._skipped is not None:
                self._skipped.warn(index, error, "the metrics leave it out")
            raise
        return EvaluationExample(_as_tensor(sample.image), sample.height, sample.width, sample.target, index)

    def __getitems__(self, indices: Sequence[int]) -> list[EvaluationExample | Unreadable]:
        """The way a loader process requests a batch."""
        return [_unless_unreadable(self, index) for index in indices]


def _unless_unreadable(dataset: TorchDataset[Read], key: Any) -> Read | Unreadable:
    try:
        return dataset[key]
    except DataError as error:
        return Unreadable(str(error))


def _as_tensor(image: np.ndarray) -> torch.Tensor:
    """uint8 [h, w, 3] → [3, h, w]"""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
