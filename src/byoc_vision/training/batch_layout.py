"""How far a training is, and in which layout of batches that is counted."""

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
    """The current epoch, counted from 1, the batches of it that are done, and their losses.

    learning_rate: that the epoch began with. sums: float64 [2], this process's summed loss and its images.
    """

    epoch: int = 1
    batch: int = 0
    learning_rate: float = 0.0
    sums: Tensor = field(default_factory=lambda: torch.zeros(2, dtype=torch.float64))

    def begin(self, epoch: int, learning_rate: float = 0.0) -> None:
        self.epoch, self.batch, self.learning_rate = epoch, 0, learning_rate
        self.sums.zero_()

    def add(self, sums: Tensor, batches: int) -> None:
        """A step over so many batches is made; sums: as `Step` returns them."""
        self.sums += sums
        self.batch += batches

    def state_dict(self) -> dict[str, Any]:
        """Without the sums, which differ from process to process."""
        return {"epoch": self.epoch, "batch": self.batch, "learning_rate": self.learning_rate}


@dataclass(frozen=True)
class BatchLayout:
    """What decides which images a batch holds: a position within an epoch means the same only in the same layout.

    shards: which images are on which host, in a few letters; empty if each host has all.
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
    ) -> BatchLayout:
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

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.batches // self.accumulate_steps)

    def as_dict(self) -> dict[str, Any]:
        """As checkpoints hold it: `images` under its old name, and `shards` only if there are any."""
        values = asdict(self)
        layout = {"pictures": values.pop("images")} | values
        return {name: value for name, value in layout.items() if name != "shards" or value}
