"""Batches of uint8 tensors, loaded by several processes."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, default_collate

from byoc_vision.data.image_dataset import (
    EvaluationDataset,
    EvaluationExample,
    Example,
    ImageDataset,
    Unreadable,
    UnreadableSampleError,
)
from byoc_vision.data.samplers import EvaluationSampler, Sampling, TrainingSampler, build_order
from byoc_vision.data.workers import (
    PREFETCHED_BATCHES,
    choose_workers,
    free_shared_memory,
    start_worker,
)
from byoc_vision.system.machine import available_cores

logger = logging.getLogger(__name__)


class EvaluationBatch(NamedTuple):
    """N samples, possibly none. images: uint8 [N, 3, h, w]; the rest as in `EvaluationExample`, as lists.

    unreadable: a reason for each sample that cannot be read and is left out.
    """

    images: torch.Tensor
    heights: list[int]
    widths: list[int]
    targets: list[np.ndarray]
    sample_indices: list[int]
    unreadable: list[str]


class TrainingLoader(DataLoader[Example]):
    """Batches of `Example`. Call `set_epoch` before each epoch."""

    dataset: ImageDataset
    sampler: TrainingSampler

    def __iter__(self) -> Any:
        """Raises UnreadableSampleError if a sample cannot be read."""
        for batch in super().__iter__():
            if isinstance(batch, Unreadable):
                raise UnreadableSampleError(batch.reason)
            yield batch

    def set_epoch(self, epoch: int, first_batch: int = 0) -> None:
        """first_batch: the epoch begins with this batch; the ones before it are not loaded."""
        assert self.batch_size is not None
        self.sampler.set_epoch(epoch, first_batch * self.batch_size)

    def limit(self, batches: int) -> None:
        """Limit the batches of an epoch: all processes must take the same number of steps."""
        assert self.batch_size is not None
        if batches < len(self):
            self.sampler.max_samples = batches * self.batch_size


class EvaluationLoader(DataLoader[EvaluationExample]):
    """Batches of `EvaluationBatch`."""

    dataset: EvaluationDataset

    def __iter__(self) -> Any:
        """Raises UnreadableSampleError if a sample cannot be read and the dataset does not skip it."""
        for batch in super().__iter__():
            if batch.unreadable and not self.dataset.skips:
                raise UnreadableSampleError(batch.unreadable[0])
            yield batch


def build_training_loader(
    dataset: ImageDataset,
    batch_size: int,
    *,
    sampling: Sampling = "natural",
    workers: int | None = None,
    rank: int = 0,
    world_size: int = 1,
    local_world_size: int = 1,
    on_gpu: bool = False,
) -> TrainingLoader:
    """Shuffled batches of uint8 tensors.

    The last batch may be smaller. It is dropped if it has a single sample and is not the only batch: batch norm has no
    statistics for one sample. The order changes with each epoch, so every sample is used.

    Args:
        sampling: which samples an epoch draws, see `build_order`.
        workers: loader processes, 0 is allowed; by default chosen from cores, batches and shared memory.
        rank, world_size: of the training processes.
        local_world_size: the number of training processes on this machine, which share its cores.
        on_gpu: pins memory.
    """
    sampler = TrainingSampler(build_order(sampling, dataset.samples), dataset.seed, rank, world_size)
    options = _loader_options(dataset, len(sampler), batch_size, workers, local_world_size, on_gpu)
    return TrainingLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        drop_last=len(sampler) > batch_size and len(sampler) % batch_size == 1,
        collate_fn=collate_training,
        **options,
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
) -> EvaluationLoader:
    """Batches of `EvaluationBatch` in the order of the samples, each sample in one of the processes.

    The arguments are those of `build_training_loader`.
    """
    sampler = EvaluationSampler(len(dataset), rank, world_size)
    options = _loader_options(dataset, len(sampler), batch_size, workers, local_world_size, on_gpu)
    return EvaluationLoader(dataset, batch_size=batch_size, sampler=sampler, collate_fn=collate_evaluation, **options)


def collate_training(examples: list[Example | Unreadable]) -> Example | Unreadable:
    """Stack the examples, or return one that cannot be read."""
    for example in examples:
        if isinstance(example, Unreadable):
            return example
    batch: Example = default_collate(examples)
    return batch


def collate_evaluation(examples: list[EvaluationExample | Unreadable]) -> EvaluationBatch:
    """Stack the images. Targets stay arrays: each tensor would need a file descriptor to leave its worker."""
    read = [example for example in examples if isinstance(example, EvaluationExample)]
    return EvaluationBatch(
        torch.stack([example.image for example in read]) if read else torch.empty(0, dtype=torch.uint8),
        [example.height for example in read],
        [example.width for example in read],
        [example.target for example in read],
        [example.sample_index for example in read],
        [example.reason for example in examples if isinstance(example, Unreadable)],
    )


def _loader_options(
    dataset: ImageDataset | EvaluationDataset,
    count: int,
    batch_size: int,
    workers: int | None,
    local_world_size: int,
    on_gpu: bool,
) -> dict[str, Any]:
    """The DataLoader's options that both loaders share."""
    chosen = choose_workers(
        batches=-(-count // batch_size),
        batch_bytes=batch_size * dataset.size[0] * dataset.size[1] * 4,
        cores=max(1, available_cores() // local_world_size),
        on_gpu=on_gpu,
        shared_memory=free_shared_memory(shared_by=local_world_size),
        requested=workers,
    )
    logger.info("%s: %d images, %d loader processes", type(dataset).__name__, count, chosen)
    options: dict[str, Any] = {"num_workers": chosen, "pin_memory": on_gpu, "generator": torch.Generator()}
    if chosen:
        options |= {"persistent_workers": True, "prefetch_factor": PREFETCHED_BATCHES, "worker_init_fn": start_worker}
    return options
