"""How fast an epoch's training was, and for what share of it the device had nothing to do but wait for pictures."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from byoc_vision.training.distribution import World, sum_over_processes

Batch = TypeVar("Batch", bound="tuple[Tensor, ...]")


@dataclass(frozen=True)
class Throughput:
    """Of all processes together. data_wait: the share of the time, 0–1. waited: seconds, the mean of the processes.

    own_wait: this process's share alone.
    """

    images_per_second: float = 0.0
    data_wait: float = 0.0
    waited: float = 0.0
    own_wait: float = 0.0


class Gap(Protocol):
    """The time in which the device may have idled: from a step's end to the next batch."""

    def begin(self) -> None: ...

    def end(self, waited: float) -> None:
        """waited: seconds that this process waited for the batch."""
        ...

    def total(self) -> float:
        """Seconds that the device idled for want of batches."""
        ...


class HostGap:
    """On a CPU the process that waits is the device."""

    def __init__(self) -> None:
        self._total = 0.0

    def begin(self) -> None: ...

    def end(self, waited: float) -> None:
        self._total += waited

    def total(self) -> float:
        return self._total


class GpuGap:
    """On a GPU, where this process runs ahead: what it waits for costs nothing while the GPU still has work.

    The GPU itself notes when it has finished a step and when it begins the next one; the notes are read long after, so
    that nobody waits for them.
    """

    _UNREAD = 64  # steps that a GPU is never behind

    def __init__(self) -> None:
        self._total = 0.0
        self._notes: deque[tuple[torch.cuda.Event, torch.cuda.Event, float]] = deque()
        self._begun: torch.cuda.Event | None = None

    def begin(self) -> None:
        self._begun = self._note()

    def end(self, waited: float) -> None:
        assert self._begun is not None
        self._notes.append((self._begun, self._note(), waited))
        while len(self._notes) > self._UNREAD and self._notes[0][1].query():  # type: ignore[no-untyped-call]
            self._read()

    def total(self) -> float:
        """Waits for the GPU."""
        torch.cuda.synchronize()
        while self._notes:
            self._read()
        return self._total

    def _read(self) -> None:
        begun, ended, waited = self._notes.popleft()
        self._total += min(waited, begun.elapsed_time(ended) / 1000)

    @staticmethod
    def _note() -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event


class Meter:
    """Measures one epoch: wrap its batches in `watch`."""

    def __init__(self, device: torch.device, clock: Callable[[], float] = time.perf_counter) -> None:
        self._device = device
        self._clock = clock
        self._gap: Gap = GpuGap() if device.type == "cuda" else HostGap()
        self._pictures = 0
        self._started = clock()

    def watch(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches. What is done with one until the next is asked for counts as its step."""
        self._started = asked = self._clock()
        iterator = iter(batches)
        while True:
            self._gap.begin()
            batch = next(iterator, None)
            self._gap.end(self._clock() - asked)
            if batch is None:
                return
            self._pictures += len(batch[0])
            yield batch
            asked = self._clock()

    def throughput(self, world: World) -> Throughput:
        """Of the time until now: call it when the epoch is over, in all processes."""
        waited = self._gap.total()
        mine = [waited, self._clock() - self._started, self._pictures]
        own_wait = min(1.0, waited / mine[1]) if mine[1] else 0.0
        total = sum_over_processes(torch.tensor(mine, dtype=torch.float64, device=self._device), world)
        waited, seconds, pictures = total.tolist()
        if not seconds:
            return Throughput()
        return Throughput(
            images_per_second=pictures / seconds * world.size,
            data_wait=min(1.0, waited / seconds),
            waited=waited / world.size,
            own_wait=own_wait,
        )
