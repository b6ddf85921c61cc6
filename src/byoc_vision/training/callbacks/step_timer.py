"""Where the time of training steps went: each part of a step, all steps together, and the slowest ones."""

from __future__ import annotations

import heapq
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from byoc_vision.report.record import SlowStep, StepTimes, Times
from byoc_vision.training.callbacks.base import StepObserver
from byoc_vision.training.stopwatch import GpuStopwatch, HostStopwatch, Stopwatch

MOST_SLOW_STEPS = 10
_UNREAD = 64  # steps that a GPU is never behind

Part = Literal["data_wait", "to_device", "forward", "backward", "optimizer", "other"]
Batch = TypeVar("Batch", bound="tuple[Tensor, ...]")


@dataclass
class _Lap:
    """A stretch of a step, up to the mark `ended`. most: seconds; what is above them is another matter's."""

    part: Part
    ended: Any
    most: float = math.inf


@dataclass
class _Step:
    """A step of an epoch, from the moment in which its first batch is asked for."""

    epoch: int
    step: int
    begun: Any
    laps: list[_Lap] = field(default_factory=list)
    is_done: bool = False

    def times(self, stopwatch: Stopwatch) -> StepTimes:
        seconds = dict.fromkeys(StepTimes.model_fields, 0.0)
        begun = self.begun
        for lap in self.laps:
            taken = stopwatch.seconds(begun, lap.ended)
            seconds[lap.part] += min(taken, lap.most)
            seconds["other"] += max(0.0, taken - lap.most)
            begun = lap.ended
        return StepTimes(**seconds)


class Timeline(StepObserver):
    """Measures all steps of a job: wrap each epoch's batches in `watch`, and call `settle` when the epoch is over.

    A step lasts from the moment in which its first batch is asked for to the same moment of the next step, so what is
    done between steps, such as the copy for a checkpoint, counts as `other`. On a GPU this process runs ahead of the
    device, whose time it is that counts; marks are read long after, so that nobody waits for them.
    """

    def __init__(
        self,
        device: torch.device,
        clock: Callable[[], float] = time.perf_counter,
        stopwatch: Stopwatch | None = None,
    ) -> None:
        self.device = device
        self.clock = clock
        self.total = StepTimes()
        self.steps = 0
        self._stopwatch = stopwatch or (GpuStopwatch() if device.type == "cuda" else HostStopwatch(clock))
        self._step: _Step | None = None
        self._unread: deque[_Step] = deque()
        self._slowest: list[tuple[float, int, SlowStep]] = []  # a heap, the least slow first

    def watch(self, batches: Iterable[Batch], epoch: int = 1, done: int = 0) -> Iterator[Batch]:
        """The batches of an epoch of which `done` steps are made already."""
        iterator = iter(batches)
        self._step = _Step(epoch, done + 1, self._stopwatch.mark())
        while True:
            self._next_step_begins()
            asked = self.clock()
            batch = next(iterator, None)
            # Waiting costs nothing while the GPU still has work.
            self._lap("data_wait", most=self.clock() - asked)
            if batch is None:
                return
            yield batch

    def step_begins(self) -> None:
        self._lap("other")

    def batch_moved(self, images: Tensor, targets: Tensor) -> None:
        self._lap("to_device")

    def loss_computed(self, logits: Tensor, loss: Tensor) -> None:
        self._lap("forward")

    def gradients_computed(self) -> None:
        self._lap("backward")

    def gradients_ready(self, scale: float) -> None:
        self._lap("optimizer")

    def step_ends(self) -> None:
        self._lap("optimizer")
        if self._step:
            self._step.is_done = True

    def settle(self) -> None:
        """The epoch is over, or left: wait for the device, and read all marks."""
        self._lap("other")
        if self._step:
            self._unread.append(self._step)
            self._step = None
        self._stopwatch.wait()
        while self._unread:
            self._read()

    def times(self) -> Times:
        """Of the steps that are settled."""
        slowest = [slow for _, _, slow in sorted(self._slowest, reverse=True)]
        return Times(steps=self.steps, total=self.total, slowest=slowest)

    def _next_step_begins(self) -> None:
        self._lap("other")
        step = self._step
        if step is None or not step.is_done:
            return  # one step may take several batches
        self._unread.append(step)
        self._step = _Step(step.epoch, step.step + 1, step.laps[-1].ended)
        while len(self._unread) > _UNREAD and self._stopwatch.passed(self._unread[0].laps[-1].ended):
            self._read()

    def _lap(self, part: Part, most: float = math.inf) -> None:
        if self._step:
            self._step.laps.append(_Lap(part, self._stopwatch.mark(), most))

    def _read(self) -> None:
        step = self._unread.popleft()
        times = step.times(self._stopwatch)
        self.total = _sum(self.total, times)
        if not step.is_done:
            return  # what was waited for in vain, at an epoch's end
        self.steps += 1
        slow = SlowStep(epoch=step.epoch, step=step.step, seconds=times.total, times=times)
        # Of two that are equally slow the earlier one is kept: -steps tells them apart.
        entry = (slow.seconds, -self.steps, slow)
        if len(self._slowest) < MOST_SLOW_STEPS:
            heapq.heappush(self._slowest, entry)
        else:
            heapq.heappushpop(self._slowest, entry)


def _sum(one: StepTimes, other: StepTimes) -> StepTimes:
    return StepTimes(**{name: getattr(one, name) + getattr(other, name) for name in StepTimes.model_fields})
