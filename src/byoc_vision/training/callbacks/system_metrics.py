"""How busy this container's cores and this process's GPU are, and how much memory is in use, while a job trains."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import pynvml
import torch

from byoc_vision.launch.job_time import seconds_since_start
from byoc_vision.report.record import Reading, Record
from byoc_vision.system.machine import available_cores, busy_seconds
from byoc_vision.system.memory import memory_in_use, memory_limit
from byoc_vision.training.callback import Callback

INTERVAL = 1.0  # seconds
MOST_READINGS = 600
_SHORTEST = 0.1  # seconds: shorter intervals say nothing
_UUID_PREFIXES = ("GPU-", "MIG-")

logger = logging.getLogger(__name__)


class SystemMetrics(Callback):
    """A reading every `interval` seconds while epochs are trained and validated, from a thread of its own.

    When there are too many, every other one is dropped and the interval doubled: they cover the whole job, however
    long.

    readings: in the order of time, at most `most`. gpu_memory_limit: bytes.
    """

    def __init__(
        self,
        device: torch.device,
        *,
        interval: float = INTERVAL,
        most: int = MOST_READINGS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.readings: list[Reading] = []
        self.interval = interval
        self._most = most
        self._clock = clock
        self._began = clock() - (seconds_since_start() or 0.0)
        self._device = device
        self._read_at = clock()
        self._cpu: CpuUsage | None = None
        self._gpu: GpuUsage | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def memory_limit(self) -> int | None:
        """Bytes that this container may take."""
        return memory_limit()

    @property
    def gpu_memory_limit(self) -> int | None:
        return self._gpu.memory_limit if self._gpu else None

    def epoch_begin(self, epoch: int, step: int) -> None:
        """Start with the first epoch."""
        if self._thread:
            return
        self._cpu, self._gpu = CpuUsage(), GpuUsage.of(self._device)
        self._read_at = self._clock()
        self._thread = threading.Thread(target=self._watch, name="system-metrics", daemon=True)
        self._thread.start()

    def train_end(self, record: Record) -> None:
        """Stop with a last reading."""
        if not self._thread or self._stopping.is_set():
            return
        self._stopping.set()
        self._thread.join()
        if self._clock() - self._read_at >= _SHORTEST:
            self.read()

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
        readings = [*self.readings, reading]
        if len(readings) > self._most:
            readings = readings[::-2][::-1]  # with the newest
            self.interval *= 2
        self.readings = readings  # replaced whole: another thread may be reading the old list

    def _watch(self) -> None:
        while not self._stopping.wait(self.interval):
            try:
                self.read()
            except OSError as error:  # a job does not fail because the machine cannot be read
                logger.warning("System metrics are no longer read: %s", error)
                return


class CpuUsage:
    """The share of this container's cores, 0–1, that was busy since the last call."""

    def __init__(
        self,
        busy: Callable[[], float] = busy_seconds,
        clock: Callable[[], float] = time.monotonic,
        cores: int | None = None,
    ) -> None:
        self._busy = busy
        self._clock = clock
        self._cores = cores or available_cores()
        self._before = (clock(), self._busy())

    def __call__(self) -> float | None:
        """None if no time has passed."""
        now = (self._clock(), self._busy())
        seconds, busy = (new - old for new, old in zip(now, self._before, strict=True))
        if seconds <= 0:
            return None
        self._before = now
        return min(1.0, max(0.0, busy / (seconds * self._cores)))


class GpuUsage:
    """One GPU, as its driver sees it: what other programs do with it counts too."""

    def __init__(self, uuid: str) -> None:
        """Raises NVMLError if there is no driver, or no such GPU."""
        pynvml.nvmlInit()
        self._handle = _handle(uuid)
        self.memory_limit = int(pynvml.nvmlDeviceGetMemoryInfo(self._handle).total)

    @classmethod
    def of(cls, device: torch.device) -> GpuUsage | None:
        """The GPU that this process computes on, found by its UUID; None if there is none."""
        if device.type != "cuda":
            return None
        try:
            return cls(str(torch.cuda.get_device_properties(device).uuid))
        except pynvml.NVMLError:
            return None

    def busy(self) -> float | None:
        """The share of the last moments, 0–1, in which a kernel ran; None if the driver does not say."""
        try:
            return float(pynvml.nvmlDeviceGetUtilizationRates(self._handle).gpu) / 100
        except pynvml.NVMLError:
            return None  # parts of a GPU (MIG) have no such number

    def memory(self) -> int | None:
        """Bytes in use; None if the driver does not say."""
        try:
            return int(pynvml.nvmlDeviceGetMemoryInfo(self._handle).used)
        except pynvml.NVMLError:
            return None


def _handle(uuid: str) -> object:
    """torch names a GPU, or a part of one, without the letters in front."""
    error = None
    for prefix in _UUID_PREFIXES:
        try:
            return pynvml.nvmlDeviceGetHandleByUUID(prefix + uuid)
        except pynvml.NVMLError as refused:
            error = refused
    assert error is not None
    raise error
