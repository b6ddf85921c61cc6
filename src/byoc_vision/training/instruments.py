"""What looks on while a job trains, and what the record of the job says of its time."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.paths import MlPaths
from byoc_vision.report.record import Times
from byoc_vision.training.distributed import World
from byoc_vision.training.callbacks.base import StepObserver
from byoc_vision.training.callbacks.profiler import StepProfiler
from byoc_vision.training.callbacks.system_metrics import Readings
from byoc_vision.training.callbacks.step_timer import Timeline


@dataclass
class Instruments:
    """The timeline in every process; in the first one also the readings, and the profiler where it is asked for."""

    timeline: Timeline
    readings: Readings | None = None
    profiler: StepProfiler | None = None

    @classmethod
    def of(cls, paths: MlPaths, hyperparameters: Hyperparameters, world: World, device: torch.device) -> Instruments:
        timeline, steps = Timeline(device), hyperparameters.profile_steps
        if not world.is_first:
            return cls(timeline)
        return cls(timeline, Readings(device), StepProfiler(steps, paths.output_data, device) if steps else None)

    @property
    def observers(self) -> tuple[StepObserver, ...]:
        """To be told of each step. The profiler is first: what it does between two steps is then no part of either."""
        return (self.profiler, self.timeline) if self.profiler else (self.timeline,)

    def epoch_begins(self, done: int) -> None:
        """done: steps of the whole job that are made already."""
        if self.readings:
            self.readings.start()
        if self.profiler:
            self.profiler.epoch_begins(done)

    def epoch_ends(self) -> None:
        """The last step of an epoch is made, or the epoch is left."""
        if self.profiler:
            self.profiler.epoch_ends()

    def times(self) -> Times:
        """Of all steps of the epochs that are over, in this start of the job."""
        seen = self.readings.times() if self.readings else Times()
        steps = self.timeline.times()
        return seen.model_copy(
            update={
                "steps": steps.steps,
                "total": steps.total,
                "slowest": steps.slowest,
                "profile": self.profiler.profile if self.profiler else None,
            }
        )

    def close(self) -> None:
        """The training is over, or has failed."""
        if self.readings:
            self.readings.stop()
        if self.profiler:
            self.profiler.close()
