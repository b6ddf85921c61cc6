"""The plain numbers that rules judge: a test can make them up without a GPU, a network or torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from byoc_vision.evaluation.epoch_record import EpochRecord
from byoc_vision.report.record import Times
from byoc_vision.types import Task


@dataclass(frozen=True)
class DataFacts:
    """The training data. amounts: by class, images (classification) or the share of pixels, 0–1.

    balanced: whether the job weighs or draws its classes already.
    """

    task: Task
    amounts: Mapping[str, float]
    balanced: bool


@dataclass(frozen=True)
class StepFacts:
    """A step. loss: the mean of its images.

    start_seconds: from the process's start to the end of its first step; only for that step.
    """

    loss: float
    start_seconds: float | None = None


@dataclass(frozen=True)
class Silence:
    """No step has ended for so long. where: the line that the training is at."""

    seconds: float
    where: str


@dataclass(frozen=True)
class Explosion:
    """Something is no longer a number. what: the loss or the gradient. origin: where that arose, as far as is known."""

    what: str
    origin: str


@dataclass(frozen=True)
class Activation:
    """What the activation layers received in one look. std: of all values; dead: by channel, whether none was above 0.

    rectifies: whether the layer passes nothing below 0 (ReLU).
    """

    std: float
    dead: tuple[bool, ...]
    rectifies: bool


@dataclass(frozen=True)
class Weight:
    """A weight that learns, of two dimensions at least.

    gradient: the mean of its absolute values. norm, change: of a sample of its values, before the step and by the step.
    """

    gradient: float
    norm: float
    change: float


@dataclass(frozen=True)
class Look:
    """Tensors in one step, by the names of layers and parameters.

    loss: of the step; first_loss: of the run's first look.
    moved: whether the optimiser moved the weights, at a learning rate that shows.
    mean, std: of the normalised images, by channel. untrained: whether it is the run's first step.
    """

    loss: float
    first_loss: float
    moved: bool
    untrained: bool
    weights: Mapping[str, Weight]
    activations: Mapping[str, Activation]
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Loading:
    """Seconds that it takes one process to make an image ready, the mean of a few.

    disk: to read its files; decode: to decode, resize and keep it; augment: to vary it. cached: whether it was found
    decoded, and `decode` is what reading that took.
    """

    disk: float
    decode: float
    augment: float
    cached: bool = False


@dataclass(frozen=True)
class Waiting:
    """How an epoch's training waited for images. share: of the time, 0–1. seconds: by each process.

    loading: measures, once, where the time goes; remedy: the setting to change. shares: of each process.
    """

    share: float
    seconds: float
    loading: Callable[[], Loading]
    remedy: str = ""
    shares: Sequence[float] = ()


@dataclass(frozen=True)
class EpochFacts:
    """The run after an epoch. epochs: all so far. planned: how many there are to be.

    step_seconds: of the epoch's steps, as far as they are known. peaks: the most GPU memory by epoch, bytes.
    """

    epochs: Sequence[EpochRecord]
    objective: str
    mode: Literal["max", "min"]
    planned: int
    stops_early: bool = False
    step_seconds: Sequence[float] = ()
    waiting: Waiting | None = None
    times: Times = field(default_factory=Times)
    peaks: Sequence[int] = ()
    batch_size: int = 0

    @property
    def last(self) -> EpochRecord:
        return self.epochs[-1]

    def is_last(self) -> bool:
        return self.last.epoch >= self.planned
