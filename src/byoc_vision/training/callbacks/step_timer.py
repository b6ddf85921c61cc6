"""The time that training steps take: each part of a step, all steps together, the slowest ones, images per second."""

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

from byoc_vision.launch.distributed import World, all_gather
from byoc_vision.report.record import SlowStep, StepTimes
from byoc_vision.training.callback import Callback

MOST_SLOW_STEPS = 10
MOST_UNREAD = 64  # steps that a GPU is never behind

Part = Literal["data_wait", "to_device", "forward", "backward", "optimizer", "other"]
Batch = TypeVar("Batch", bound="tuple[Tensor, ...]")


class Stopwatch:
    """Marks moments, to be read once the device has passed them.

    A GPU is behind this process: it notes the time itself when it reaches a mark. On a CPU the process that counts is
    the device.
    """

    def __init__(self, device: torch.device, clock: Callable[[], float] = time.perf_counter) -> None:
        self._on_gpu = device.type == "cuda"
        self._clock = clock

    def mark(self) -> Any:
        if not self._on_gpu:
            return self._clock()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def passed(self, mark: Any) -> bool:
        """Whether the device has passed it, so that reading it does not wait."""
        return not self._on_gpu or bool(mark.query())

    def seconds(self, begun: Any, ended: Any) -> float:
        return float(begun.elapsed_time(ended) / 1000 if self._on_gpu else ended - begun)

    def wait(self, mark: Any) -> None:
        """Return once the device has passed the mark."""
        if self._on_gpu:
            mark.synchronize()


@dataclass(frozen=True)
class Throughput:
    """The training of one epoch, over all processes.

    data_wait: the share of the time in which the device waited for images, 0–1; waits: the same of each process.
    waited: seconds, the mean of the processes.
    """

    images_per_second: float = 0.0
    data_wait: float = 0.0
    waited: float = 0.0
    waits: tuple[float, ...] = ()


@dataclass
class _Lap:
    """A stretch of a step, up to the mark `ended`. most: seconds; what is above them counts as `other`."""

    part: Part
    ended: Any
    most: float = math.inf


@dataclass
class _Step:
    """A step of an epoch, from the moment in which its first batch is requested."""

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


class StepTimer(Callback):
    """The one clock of steps: wrap each epoch's batches in `watch`, and call `gather_throughput` after the epoch.

    A step lasts from the moment in which its first batch is requested to the same moment of the next step, so what is
    done between steps, such as the copy for a checkpoint, counts as `other`. On a GPU this process runs ahead of the
    device, whose time it is that counts; marks are read long after, so that the process never waits for them.

    steps, total, slowest: of all steps so far. epoch_seconds, throughput: of each step of the last epoch, and of the
    epoch.
    """

    def __init__(
        self,
        device: torch.device,
        clock: Callable[[], float] = time.perf_counter,
        stopwatch: Stopwatch | None = None,
    ) -> None:
        self.device = device
        self.total = StepTimes()
        self.steps = 0
        self.epoch_seconds: list[float] = []
        self.throughput = Throughput()
        self._clock = clock
        self._stopwatch = stopwatch or Stopwatch(device, clock)
        self._epoch, self._made = 1, 0
        self._step: _Step | None = None
        self._unread: deque[_Step] = deque()
        self._slowest: list[tuple[float, int, SlowStep]] = []  # a heap, the least slow first
        self._begin_epoch()

    @property
    def slowest(self) -> list[SlowStep]:
        """The slowest first."""
        return [slow for _, _, slow in sorted(self._slowest, reverse=True)]

    def epoch_begin(self, epoch: int, step: int) -> None:
        self._epoch, self._made = epoch, step

    def watch(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches of an epoch, the time that they take measured."""
        iterator = iter(batches)
        self._begin_epoch()
        self._step = _Step(self._epoch, self._made + 1, self._stopwatch.mark())
        while True:
            self._next_step_begins()
            asked = self._clock()
            batch = next(iterator, None)
            # Waiting costs nothing while the GPU still has work.
            self._lap("data_wait", most=self._clock() - asked)
            if batch is None:
                return
            self._images += len(batch[0])
            yield batch

    def step_begin(self) -> None:
        self._lap("other")

    def batch_moved(self, images: Tensor, targets: Tensor) -> None:
        self._lap("to_device")

    def loss_computed(self, logits: Tensor, loss: Tensor) -> None:
        self._lap("forward")

    def gradients_computed(self) -> None:
        self._lap("backward")

    def gradients_ready(self) -> None:
        self._lap("optimizer")

    def step_end(self) -> None:
        self._lap("optimizer")
        if self._step:
            self._step.is_done = True

    def epoch_trained(self) -> None:
        """Wait for the device, and read all marks."""
        self._lap("other")
        if self._step:
            self._unread.append(self._step)
            self._step = None
        if self._unread:
            self._stopwatch.wait(self._unread[-1].laps[-1].ended)
        while self._unread:
            self._read()

    def gather_throughput(self, world: World) -> None:
        """Set `throughput`, of the epoch until now; call it in all processes, after `epoch_trained`."""
        waited, seconds = self.total.data_wait - self._waited_before, self._clock() - self._started
        processes = all_gather((waited, seconds, self._images), world)
        waited, seconds, images = map(sum, zip(*processes, strict=True))
        self.throughput = Throughput()
        if not seconds:
            return
        self.throughput = Throughput(
            images_per_second=images / seconds * world.size,
            data_wait=min(1.0, waited / seconds),
            waited=waited / world.size,
            waits=tuple(min(1.0, mine / whole) if whole else 0.0 for mine, whole, _ in processes),
        )

    def _begin_epoch(self) -> None:
        self._started, self._images = self._clock(), 0
        self._waited_before = self.total.data_wait
        self.epoch_seconds = []

    def _next_step_begins(self) -> None:
        self._lap("other")
        step = self._step
        if step is None or not step.is_done:
            return  # one step may take several batches
        self._unread.append(step)
        self._step = _Step(step.epoch, step.step + 1, step.laps[-1].ended)
        while len(self._unread) > MOST_UNREAD and self._stopwatch.passed(self._unread[0].laps[-1].ended):
            self._read()

    def _lap(self, part: Part, most: float = math.inf) -> None:
        if self._step:
            self._step.laps.append(_Lap(part, self._stopwatch.mark(), most))

    def _read(self) -> None:
        step = self._unread.popleft()
        times = step.times(self._stopwatch)
        self.total = _sum(self.total, times)
        if not step.is_done:
            return  # the wait for a batch that did not come, at an epoch's end
        self.steps += 1
        self.epoch_seconds.append(times.total)
        slow = SlowStep(epoch=step.epoch, step=step.step, seconds=times.total, times=times)
        # Of two that are equally slow the earlier one is kept: -steps orders them.
        entry = (slow.seconds, -self.steps, slow)
        if len(self._slowest) < MOST_SLOW_STEPS:
            heapq.heappush(self._slowest, entry)
        else:
            heapq.heappushpop(self._slowest, entry)


class StepLosses:
    """Put a loss in when its step ends, and take it out once the device has computed it.

    A GPU is some steps behind: the loss is copied to main memory in passing, and read after that.
    """

    def __init__(self, device: torch.device) -> None:
        self._stopwatch = Stopwatch(device)
        self._sent: deque[tuple[int, Tensor, Any]] = deque()

    def put(self, step: int, loss: Tensor) -> None:
        """loss: []"""
        copy = loss.detach()
        if loss.is_cuda:
            copy = torch.empty((), dtype=torch.float32, pin_memory=True)
            copy.copy_(loss.detach(), non_blocking=True)
        self._sent.append((step, copy, self._stopwatch.mark()))

    def take(self, *, wait: bool = False) -> Iterator[tuple[int, float]]:
        """Steps and their losses, in order, as far as they are known; all of them with `wait`."""
        while self._sent:
            step, loss, mark = self._sent[0]
            if not self._stopwatch.passed(mark):
                if not wait and len(self._sent) <= MOST_UNREAD:
                    return
                self._stopwatch.wait(mark)
            self._sent.popleft()
            yield step, float(loss)


def _sum(one: StepTimes, other: StepTimes) -> StepTimes:
    return StepTimes(**{name: getattr(one, name) + getattr(other, name) for name in StepTimes.model_fields})
