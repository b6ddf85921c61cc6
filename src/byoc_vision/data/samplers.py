"""Which samples an epoch draws, in which order, and in which process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch.utils.data import Sampler

from byoc_vision.data.samples import Sample
from byoc_vision.errors import InputError

Sampling = Literal["natural", "balanced", "undersample"]


class SampleKey(NamedTuple):
    """A sample in an epoch. Its augmentation depends on nothing else.

    repetition: how often the epoch has drawn this sample before, so that each time is augmented differently.
    """

    sample_index: int
    epoch: int
    repetition: int = 0


class Order(Protocol):
    """Which samples an epoch draws, in a random order."""

    def __len__(self) -> int:
        """The number of samples in an epoch."""
        ...

    def draw(self, generator: torch.Generator) -> list[int]:
        """The indices of an epoch's samples."""
        ...


class Natural:
    """Each sample once."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def draw(self, generator: torch.Generator) -> list[int]:
        return _shuffled(self.count, generator)


class ClassBalanced:
    """`quota` samples of each class: a smaller class is repeated, a larger one is used in part."""

    def __init__(self, labels: Sequence[int], quota: int) -> None:
        members: dict[int, list[int]] = {}
        for index, label in enumerate(labels):
            members.setdefault(label, []).append(index)
        self.members = [members[label] for label in sorted(members)]
        self.quota = quota

    def __len__(self) -> int:
        return self.quota * len(self.members)

    def draw(self, generator: torch.Generator) -> list[int]:
        drawn = [index for members in self.members for index in self._of_class(members, generator)]
        return [drawn[position] for position in _shuffled(len(drawn), generator)]

    def _of_class(self, members: list[int], generator: torch.Generator) -> list[int]:
        rounds = -(-self.quota // len(members))
        shuffled = [members[place] for _ in range(rounds) for place in _shuffled(len(members), generator)]
        return shuffled[: self.quota]


def build_order(sampling: Sampling, samples: Sequence[Sample]) -> Order:
    """The order for a `sampling`.

    natural: each sample once. balanced: the same number of each class, in total about the number of samples.
    undersample: of each class as many as the smallest class has.

    Raises InputError if samples do not have exactly one label.
    """
    if sampling == "natural":
        return Natural(len(samples))
    labels = [sample.label for sample in samples if sample.label is not None]
    if len(labels) < len(samples):
        raise InputError(
            f"sampling={sampling} needs exactly one class per image; for masks and multi-label images "
            "leave sampling out and set class_weights=balanced"
        )
    sizes = Counter(labels)
    return ClassBalanced(labels, min(sizes.values()) if sampling == "undersample" else -(-len(labels) // len(sizes)))


class TrainingSampler(Sampler[SampleKey]):
    """A new order in each epoch, the same for the same seed, divided evenly among `world_size` processes.

    If the samples do not divide evenly, the first ones of the order occur twice: every process must take the same
    number of steps. Call `set_epoch` before each epoch.
    max_samples: the limit for this process in an epoch, if others have fewer; each epoch leaves out different ones.
    """

    def __init__(self, order: Order, seed: int, rank: int = 0, world_size: int = 1) -> None:
        self.order = order
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self.first = 0
        self.max_samples: int | None = None

    def set_epoch(self, epoch: int, first: int = 0) -> None:
        """first: the number of this process's samples to skip, because they were trained on before."""
        self.epoch, self.first = epoch, first

    def __len__(self) -> int:
        share = -(-len(self.order) // self.world_size)
        return share if self.max_samples is None else min(share, self.max_samples)

    def __iter__(self) -> Iterator[SampleKey]:
        generator = torch.Generator().manual_seed(mixed_seed(self.seed, self.epoch))
        drawn = self.order.draw(generator)
        repetitions = _repetitions(drawn)
        for position in range(self.rank + self.first * self.world_size, len(self) * self.world_size, self.world_size):
            place = position % len(drawn)
            yield SampleKey(drawn[place], self.epoch, repetitions[place])


class EvaluationSampler(Sampler[int]):
    """Every `world_size`-th sample, in order: each sample is in exactly one process."""

    def __init__(self, count: int, rank: int = 0, world_size: int = 1) -> None:
        self.indices = range(rank, count, world_size)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)


def mixed_seed(*parts: int) -> int:
    """One seed from several numbers; similar numbers give unrelated seeds."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


def _shuffled(count: int, generator: torch.Generator) -> list[int]:
    return torch.randperm(count, generator=generator).tolist()


def _repetitions(drawn: Sequence[int]) -> list[int]:
    """For each draw, how often the same index was drawn before."""
    seen: Counter[int] = Counter()
    counts = []
    for index in drawn:
        counts.append(seen[index])
        seen[index] += 1
    return counts
