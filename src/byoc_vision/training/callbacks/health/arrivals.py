"""The loss and the time of each step, as numbers, without making anybody wait for the device."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Arrival(NamedTuple):
    """A step's number within its epoch, its loss, and the seconds since the step before ended, where that is known."""

    step: int
    loss: float
    seconds: float | None


class Arrivals(Protocol):
    """Steps whose figures are known by now."""

    def restart(self) -> None:
        """The time until the next step's end is not a step's alone."""
        ...

    def put(self, step: int, loss: Tensor) -> None:
        """A step has ended. loss: []"""
        ...

    def take(self, *, all_of_them: bool = False) -> Iterator[Arrival]:
        """In their order. all_of_them: wait for those that are under way."""
        ...


class HostArrivals:
    """On a CPU a step that has ended is done."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._ended_at: float | None = None
        self._arrived: deque[Arrival] = deque()

    def restart(self) -> None:
        self._ended_at = None

    def put(self, step: int, loss: Tensor) -> None:
        now = self._clock()
        seconds = None if self._ended_at is None else now - self._ended_at
        self._ended_at = now
        self._arrived.append(Arrival(step, float(loss), seconds))

    def take(self, *, all_of_them: bool = False) -> Iterator[Arrival]:
        while self._arrived:
            yield self._arrived.popleft()


class GpuArrivals:
    """On a GPU, which is some steps behind: each step's loss is copied when it is there, and read after that."""

    _UNREAD = 64  # steps that a GPU is never behind

    def __init__(self) -> None:
        self._sent: deque[tuple[int, Tensor, torch.cuda.Event, torch.cuda.Event | None]] = deque()
        self._ended: torch.cuda.Event | None = None

    def restart(self) -> None:
        self._ended = None

    def put(self, step: int, loss: Tensor) -> None:
        here = torch.empty((), dtype=torch.float32, pin_memory=True)
        here.copy_(loss, non_blocking=True)
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        self._sent.append((step, here, event, self._ended))
        self._ended = event

    def take(self, *, all_of_them: bool = False) -> Iterator[Arrival]:
        while self._sent:
            step, loss, ended, before = self._sent[0]
            if not ended.query():  # type: ignore[no-untyped-call]
                if not all_of_them and len(self._sent) <= self._UNREAD:
                    return
                ended.synchronize()
            self._sent.popleft()
            yield Arrival(step, float(loss), before.elapsed_time(ended) / 1000 if before else None)


def arrivals(device: torch.device) -> Arrivals:
    return GpuArrivals() if device.type == "cuda" else HostArrivals()
