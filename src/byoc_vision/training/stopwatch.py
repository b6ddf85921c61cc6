"""Moments of the device that computes, and the seconds between them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import torch


class Stopwatch(Protocol):
    """Marks moments, to be read once the device has passed them."""

    def mark(self) -> Any: ...

    def passed(self, mark: Any) -> bool:
        """Whether reading it makes nobody wait."""
        ...

    def seconds(self, begun: Any, ended: Any) -> float: ...

    def wait(self) -> None:
        """Return once the device has passed every mark."""
        ...


class HostStopwatch:
    """On a CPU the process that counts is the device."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock

    def mark(self) -> float:
        return self._clock()

    def passed(self, mark: float) -> bool:
        return True

    def seconds(self, begun: float, ended: float) -> float:
        return ended - begun

    def wait(self) -> None: ...


class GpuStopwatch:
    """On a GPU, which is behind this process: it notes the time itself as it comes to a mark."""

    def mark(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def passed(self, mark: torch.cuda.Event) -> bool:
        return bool(mark.query())  # type: ignore[no-untyped-call]

    def seconds(self, begun: torch.cuda.Event, ended: torch.cuda.Event) -> float:
        return float(begun.elapsed_time(ended)) / 1000

    def wait(self) -> None:
        torch.cuda.synchronize()
