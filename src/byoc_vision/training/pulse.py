"""What the processes of a job tell each other between steps: that one was asked to stop, that a checkpoint is due."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.distributed as dist

from byoc_vision.training.distributed import World

SECONDS = 1.0  # between two exchanges; asking at every step would have the CPU wait for the GPU each time
MOST_STEPS = 1_000


class Agreement(NamedTuple):
    """What all processes do now, in the same step."""

    stop: bool
    checkpoint: bool


class Pulse:
    """Call it after each step, in every process. Alone it asks nobody.

    The processes exchange one small sum every so many steps. How many is told by the first one, from the time its own
    steps take, so that all of them meet in the same step.
    """

    def __init__(self, world: World, device: torch.device, clock: Callable[[], float] = time.monotonic) -> None:
        self.world = world
        self.device = device
        self._clock = clock
        self._interval = 1  # steps from the last exchange to the next
        self._steps = 0  # since the last exchange
        self._exchanged_at = clock()

    def __call__(self, stop: bool, due: bool) -> Agreement:
        """`stop`: this process was asked to; `due`: the first process wants a checkpoint (the others' is ignored)."""
        if self.world.size == 1:
            return Agreement(stop, due)
        self._steps += 1
        if self._steps < self._interval:
            return Agreement(False, False)
        first = self.world.is_first
        said = torch.tensor(
            [float(stop), float(due and first), float(self._next_interval() if first else 0)], device=self.device
        )
        dist.all_reduce(said)
        stopping, checkpoint, interval = said.tolist()
        self._interval, self._steps, self._exchanged_at = int(interval), 0, self._clock()
        return Agreement(stopping > 0, checkpoint > 0)

    def _next_interval(self) -> int:
        step_s = (self._clock() - self._exchanged_at) / self._steps
        return max(1, min(MOST_STEPS, int(SECONDS / max(step_s, 1e-6))))
