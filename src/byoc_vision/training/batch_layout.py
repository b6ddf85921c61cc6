"""How far a training is, and in which layout of batches that is counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from byoc_vision.data.samples import Dataset
from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.launch.distributed import World

T = TypeVar("T")


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


def in_groups(batches: Iterable[T], size: int) -> Iterator[list[T]]:
    """The batches of one step each; the last group may be smaller."""
    group: list[T] = []
    for batch in batches:
        group.append(batch)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


@dataclass
class Length:
    """How long a training is: `steps` of the optimiser, in passes of `steps_per_epoch`; the last pass may be cut short.

    epoch, before: a pass, and the steps that were made before it. They are not 1 and 0 if a pass before was cut short
    and the training goes on.
    planned: the steps that the schedule was made for. since, place: the step of the last change, and where the schedule
    was then.
    """

    steps: int
    steps_per_epoch: int
    epoch: int = 1
    before: int = 0
    planned: int = 0
    since: int = 0
    place: float = 0.0

    def __post_init__(self) -> None:
        self.planned = self.planned or self.steps

    @classmethod
    def of(cls, hyperparameters: Hyperparameters, steps_per_epoch: int) -> Length:
        return cls(hyperparameters.steps or hyperparameters.epochs * steps_per_epoch, steps_per_epoch)

    @property
    def epochs(self) -> int:
        """Passes, also the last one if it is cut short."""
        return self.epoch - 1 + max(0, -(-(self.steps - self.before) // self.steps_per_epoch))

    def steps_before(self, epoch: int) -> int:
        return self.before + (epoch - self.epoch) * self.steps_per_epoch

    def steps_in(self, epoch: int) -> int:
        return max(0, min(self.steps_per_epoch, self.steps - self.steps_before(epoch)))

    def change(self, made: int, steps: int) -> None:
        """After `made` steps: there are `steps` in all. The schedule goes on where it is, and ends with them."""
        self.place, self.since, self.steps = self.place_of(made), made, steps

    def place_of(self, step: int) -> float:
        """Where the schedule, made for `planned` steps, is at a step: at its end after the last one."""
        if self.steps <= self.since:
            return self.place
        return self.place + (self.planned - self.place) * (step - self.since) / (self.steps - self.since)

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("steps", "planned", "since", "place")}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)

    def made(self, epoch: int, steps: int) -> int:
        """All steps, if so many of pass `epoch` are made."""
        return self.steps_before(epoch) + steps

    def end_epoch(self, epoch: int, steps: int) -> None:
        """Pass `epoch` is done, after so many steps of it."""
        self.go_on(epoch + 1, self.made(epoch, steps))

    def go_on(self, epoch: int, before: int) -> None:
        """Pass `epoch` is the next one, after `before` steps."""
        self.epoch, self.before = epoch, before


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
        return self.steps_of(self.batches)

    def steps_of(self, batches: int) -> int:
        """That so many batches of an epoch make."""
        return -(-batches // self.accumulate_steps)

    def as_dict(self) -> dict[str, Any]:
        """As checkpoints hold it: `images` under its old name, and `shards` only if there are any."""
        values = asdict(self)
        layout = {"pictures": values.pop("images")} | values
        return {name: value for name, value in layout.items() if name != "shards" or value}
