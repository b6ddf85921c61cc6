"""Which samples an epoch draws, in which order, and in which process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Sampler


class Draw(NamedTuple):
    """The request for a sample in an epoch: what is random about it depends on nothing else."""

    sample_index: int
    epoch: int


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
        generator = torch.Generator().manual_seed(mixed_seed(self.seed, self.epoch))
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


def mixed_seed(*parts: int) -> int:
    """One seed of several numbers; near numbers give unrelated seeds."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)
