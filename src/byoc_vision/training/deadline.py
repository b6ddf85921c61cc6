"""How long a job may measure and quantise the model for CPUs, which is optional."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from byoc_vision.launch.signals import StopRequestedError
from byoc_vision.training.budget_plan import REPORT_SECONDS
from byoc_vision.training.quantization import JOB_SHARE
from byoc_vision.training.trainer import Trainer

LEAST_SECONDS = 30.0


class OutOfTimeError(Exception):
    """What `int8=auto` may take of a job's time has passed."""


@dataclass
class Deadline:
    """When to give up. seconds: None for never; why: says so. is_asked_to_stop: whether the job is to end."""

    seconds: float | None
    is_asked_to_stop: Callable[[], bool]
    clock: Callable[[], float] = time.monotonic
    slowness: float | None = None  # of the machine, under a budget: nothing that would end later begins
    why: str = f"({LEAST_SECONDS:.0f}, or a tenth of the job's time); int8=true has no limit"
    _started: float = field(init=False)

    def __post_init__(self) -> None:
        self._started = self.clock()

    def __call__(self, needed: float = 0.0) -> bool:
        """False, for those who ask whether to stop. Raises OutOfTimeError and StopRequestedError instead of True."""
        if self.is_asked_to_stop():
            raise StopRequestedError
        if needed > self.left:
            raise OutOfTimeError(f"it takes more than {self.seconds:.0f} s {self.why}")
        return False

    @property
    def left(self) -> float:
        """Seconds; infinite without a limit."""
        return math.inf if self.seconds is None else self.seconds - (self.clock() - self._started)

    @classmethod
    def of(cls, trainer: Trainer) -> Deadline:
        """A tenth of the job's time for int8=auto, and none for int8=true, but no more than a budget leaves."""
        seconds = None
        if trainer.hyperparameters.int8 is not True:
            seconds = max(LEAST_SECONDS, JOB_SHARE * trainer.run().seconds)
        stops, budget = (lambda: trainer.signals.requested), trainer.budget
        if budget is None:
            return cls(seconds, stops)
        slowness = max(1.0, budget.slowness)
        left = max(0.0, budget.left - REPORT_SECONDS * slowness)
        why = f"that budget={budget.text} leaves for it"
        return cls(left if seconds is None else min(seconds, left), stops, slowness=slowness, why=why)
