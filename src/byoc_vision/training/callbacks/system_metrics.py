"""Looks at the machine while a job trains, in a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import torch

from byoc_vision.report.record import Reading, Times
from byoc_vision.system.machine import memory_limit
from byoc_vision.training.gauges import CpuGauge, GpuGauge, memory_in_use
from byoc_vision.training.callbacks.time_to_first_step import seconds_since_start

INTERVAL = 1.0  # seconds
MOST_READINGS = 600
_SHORTEST = 0.1  # seconds: what is busy for less says nothing

logger = logging.getLogger(__name__)


class Readings:
    """A reading every `interval` seconds from `start` to `stop`. Where there are too many, every other one is dropped
    and the interval doubled: they cover the whole job, however long.
    """

    def __init__(
        self,
        device: torch.device,
        *,
        interval: float = INTERVAL,
        most: int = MOST_READINGS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._device = device
        self._interval = interval
        self._most = most
        self._clock = clock
        self._readings: list[Reading] = []
        self._began = clock() - (seconds_since_start() or 0.0)
        self._read_at = clock()
        self._cpu: CpuGauge | None = None
        self._gpu: GpuGauge | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, unless that is done already."""
        if self._thread:
            return
        self._cpu, self._gpu = CpuGauge(), GpuGauge.of(self._device)
        self._read_at = self._clock()
        self._thread = threading.Thread(target=self._watch, name="readings", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End with a last look."""
        if not self._thread or self._stopping.is_set():
            return
        self._stopping.set()
        self._thread.join()
        if self._clock() - self._read_at >= _SHORTEST:
            self.read()

    def so_far(self) -> list[Reading]:
        """In the order of time, at most `most`."""
        return list(self._readings)

    def times(self) -> Times:
        """The readings, and within which limits they lie."""
        return Times(
            readings=self.so_far(),
            memory_limit=memory_limit(),
            gpu_memory_limit=self._gpu.memory_limit if self._gpu else None,
        )

    def read(self) -> None:
        """Look at the machine now."""
        now = self._clock()
        reading = Reading(
            seconds=now - self._began,
            cpu=self._cpu() if self._cpu else None,
            memory=memory_in_use(),
            gpu=self._gpu.busy() if self._gpu else None,
            gpu_memory=self._gpu.memory() if self._gpu else None,
        )
        self._read_at = now
        readings = [*self._readings, reading]
        if len(readings) > self._most:
            readings = readings[::-2][::-1]  # with the newest
            self._interval *= 2
        self._readings = readings  # in one move: who reads them meanwhile has the old ones

    def _watch(self) -> None:
        while not self._stopping.wait(self._interval):
            try:
                self.read()
            except OSError as error:  # no job fails since nobody could look
                logger.warning("The machine is no longer looked at: %s", error)
                return
