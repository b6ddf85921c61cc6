"""How far a training is, and on which grid of batches that is counted."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from byoc_vision.data.samples import Dataset
from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.training.distributed import World


@dataclass
class Progress:
    """The epoch under way, counted from 1, the batches of it that are done, and what they came to.

    learning_rate: that the epoch began with. sums: float64 [2], this process's summed loss and its images.
    """

    epoch: int = 1
    batch: int = 0
    learning_rate: float = 0.0
    sums: Tensor = field(default_factory=lambda: torch.zeros(2, dtype=torch.float64))

    def begin(self, epoch: int, learning_rate: float) -> None:
        self.epoch, self.batch, self.learning_rate = epoch, 0, learning_rate
        self.sums.zero_()

    def next_epoch(self) -> None:
        self.begin(self.epoch + 1, 0.0)


@dataclass(frozen=True)
class Grid:
    """What decides which images a batch has: a position within an epoch means the same only on the same grid.

    shards: which images lie on which host, in a few letters; empty where each host has all.
    """

    images: int
    batches: int
    batch_size: int
    processes: int
    accumulate_steps: int
    sampling: str
    seed: int
    shards: str = ""

    @classmethod
    def of(
        cls, hyperparameters: Hyperparameters, dataset: Dataset, batches: int, world: World, shards: str = ""
    ) -> Grid:
        return cls(
            images=len(dataset.train),
            batches=batches,
            batch_size=hyperparameters.batch_size,
            processes=world.size,
            accumulate_steps=hyperparameters.accumulate_steps,
            sampling=hyperparameters.sampling,
            seed=hyperparameters.seed,
            shards=shards,
        )

    def as_dict(self) -> dict[str, Any]:
        """As JSON values. Without shards as it was before there were any, for the checkpoints of then."""
        values = {name: value for name, value in asdict(self).items() if name != "shards" or value}
        values["pictures"] = values.pop("images")  # the key that checkpoints have
        return values
