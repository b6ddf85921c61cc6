"""From samples to batches of uint8 tensors. Normalisation is the model's: bytes are cheaper to move than floats."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset

from byoc_vision.data.augmentation import Augmentation
from byoc_vision.data.decoding import read_mask, read_picture
from byoc_vision.data.preprocess import Preprocess
from byoc_vision.data.samples import DataClass, Sample
from byoc_vision.data.workers import (
    PREFETCHED_BATCHES,
    available_cores,
    choose_workers,
    free_shared_memory,
    start_worker,
)

logger = logging.getLogger(__name__)

IGNORED = 255  # the class index of pixels that no loss and no metric counts


class Draw(NamedTuple):
    """The request for a sample in an epoch: what is random about it depends on nothing else."""

    sample_index: int
    epoch: int


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


class EvaluationBatch(NamedTuple):
    """N samples. pictures: uint8 [N, 3, h, w]; the rest as in `EvaluationExample`, a list each, since sizes differ."""

    pictures: torch.Tensor
    heights: list[int]
    widths: list[int]
    truths: list[np.ndarray]
    sample_indices: list[int]


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
        index, epoch = draw if isinstance(draw, tuple) else (draw, 0)
        sample = self.samples[index]
        image = self.preprocess.image(read_picture(sample.image))
        truth = _truth(sample, self._index_of_value)
        mask = self.preprocess.mask(truth, fill=IGNORED) if truth.ndim else None
        augmented = self.augmentation(image, mask, _mixed_seed(self.seed, epoch, index))
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


class TrainingSampler(Sampler[Draw]):
    """A new order in each epoch, the same for the same seed, dealt out evenly to `world_size` processes.

    Where the samples do not divide evenly, the first of the order come twice: every process must take the same
    number of steps. Call `set_epoch` before each epoch.
    """

    def __init__(self, count: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        self.count = count
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.count // self.world_size)

    def __iter__(self) -> Iterator[Draw]:
        generator = torch.Generator().manual_seed(_mixed_seed(self.seed, self.epoch))
        order = torch.randperm(self.count, generator=generator).tolist()
        for position in range(self.rank, len(self) * self.world_size, self.world_size):
            yield Draw(order[position % self.count], self.epoch)


class EvaluationSampler(Sampler[int]):
    """Every `world_size`-th sample, in order: all processes together see each sample once."""

    def __init__(self, count: int, rank: int = 0, world_size: int = 1) -> None:
        self.indices = range(rank, count, world_size)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)


class TrainingLoader(DataLoader[Example]):
    """Batches of `Example`. Call `set_epoch` before each epoch."""

    sampler: TrainingSampler

    def set_epoch(self, epoch: int) -> None:
        self.sampler.set_epoch(epoch)


def build_training_loader(
    dataset: PictureDataset,
    batch_size: int,
    *,
    workers: int | None = None,
    rank: int = 0,
    world_size: int = 1,
    local_world_size: int = 1,
    on_gpu: bool = False,
) -> TrainingLoader:
    """Shuffled batches of uint8 tensors.

    The last batch is dropped where it is not full and not the only one: batch norm has no statistics for a
    single sample, and small batches make poor ones. The order changes with each epoch, so that no sample is lost.

    workers: loader processes; chosen from cores, batches and shared memory where not given. 0 is allowed.
    rank, world_size: of the training processes; local_world_size: how many of them share this machine's cores.
    on_gpu: pins memory.
    """
    sampler = TrainingSampler(len(dataset), dataset.seed, rank, world_size)
    options = _loader_options(dataset, len(sampler), batch_size, workers, local_world_size, on_gpu)
    return TrainingLoader(
        dataset, batch_size=batch_size, sampler=sampler, drop_last=len(sampler) > batch_size, **options
    )


def build_evaluation_loader(
    dataset: EvaluationDataset,
    batch_size: int,
    *,
    workers: int | None = None,
    rank: int = 0,
    world_size: int = 1,
    local_world_size: int = 1,
    on_gpu: bool = False,
) -> DataLoader[EvaluationExample]:
    """Batches of `EvaluationBatch` in the samples' order, each sample once over all processes; the rest as above."""
    sampler = EvaluationSampler(len(dataset), rank, world_size)
    options = _loader_options(dataset, len(sampler), batch_size, workers, local_world_size, on_gpu)
    return DataLoader(dataset, batch_size=batch_size, sampler=sampler, collate_fn=collate_evaluation, **options)


def collate_evaluation(examples: list[EvaluationExample]) -> EvaluationBatch:
    """Stack the images. The truths stay arrays: as tensors each would take a file descriptor to leave its worker."""
    images, heights, widths, truths, indices = zip(*examples, strict=True)
    return EvaluationBatch(torch.stack(images), list(heights), list(widths), list(truths), list(indices))


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
        return cv2.LUT(read_mask(sample.mask), index_of_value)
    if sample.label is not None:
        return np.array(sample.label, np.int64)
    raise ValueError(f"{sample.image} has neither mask nor label")


def _as_tensor(image: np.ndarray) -> torch.Tensor:
    """uint8 [h, w, 3] → [3, h, w]"""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def _mixed_seed(*parts: int) -> int:
    """One seed of several numbers; near numbers give unrelated seeds."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


def _loader_options(
    dataset: PictureDataset | EvaluationDataset,
    count: int,
    batch_size: int,
    workers: int | None,
    local_world_size: int,
    on_gpu: bool,
) -> dict[str, Any]:
    """What both kinds of loaders hand to DataLoader."""
    chosen = choose_workers(
        batches=-(-count // batch_size),
        batch_bytes=batch_size * dataset.preprocess.height * dataset.preprocess.width * 4,
        cores=max(1, available_cores() // local_world_size),
        on_gpu=on_gpu,
        shared_memory=free_shared_memory(),
        requested=workers,
    )
    logger.info("%s: %d pictures, %d loader processes", type(dataset).__name__, count, chosen)
    options: dict[str, Any] = {"num_workers": chosen, "pin_memory": on_gpu, "generator": torch.Generator()}
    if chosen:
        options |= {"persistent_workers": True, "prefetch_factor": PREFETCHED_BATCHES, "worker_init_fn": start_worker}
    return options
