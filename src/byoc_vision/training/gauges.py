"""How busy this container's cores and this process's GPU are, and how much memory is taken."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pynvml
import torch

from byoc_vision.system.machine import available_cores
from byoc_vision.system.machine import free_memory, memory_limit

# Of the container, in the unit that follows: cgroup-v2.rst and cpuacct.rst of the kernel's documentation.
_BUSY_V2 = Path("/sys/fs/cgroup/cpu.stat")
_BUSY_V1 = (Path("/sys/fs/cgroup/cpuacct/cpuacct.usage"), Path("/sys/fs/cgroup/cpu,cpuacct/cpuacct.usage"))
_NANOSECONDS = 1e-9
_MICROSECONDS = 1e-6
_UUID_PREFIXES = ("GPU-", "MIG-")


class CpuGauge:
    """The share of this container's cores, 0–1, that was busy since the look before."""

    def __init__(
        self,
        busy: Callable[[], float] | None = None,
        clock: Callable[[], float] = time.monotonic,
        cores: int | None = None,
    ) -> None:
        self._busy = busy or busy_seconds
        self._clock = clock
        self._cores = cores or available_cores()
        self._before = (clock(), self._busy())

    def __call__(self) -> float | None:
        """None where no time has passed."""
        now = (self._clock(), self._busy())
        seconds, busy = (new - old for new, old in zip(now, self._before, strict=True))
        if seconds <= 0:
            return None
        self._before = now
        return min(1.0, max(0.0, busy / (seconds * self._cores)))


def busy_seconds(v2: Path = _BUSY_V2, v1: Sequence[Path] = _BUSY_V1) -> float:
    """Seconds that cores have worked for this container; for the whole machine where no container is to be seen."""
    for line in _lines(v2):
        name, _, number = line.partition(" ")
        if name == "usage_usec":
            return int(number) * _MICROSECONDS
    for path in v1:
        for line in _lines(path):
            return int(line) * _NANOSECONDS
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


def memory_in_use() -> int | None:
    """Bytes of this container's memory that programs could not have any more; None where the system does not tell."""
    limit, free = memory_limit(), free_memory()
    return None if limit is None or free is None else max(0, limit - free)


class GpuGauge:
    """One GPU, as its driver sees it: what other programs do with it counts too."""

    def __init__(self, uuid: str) -> None:
        """Raises NVMLError where there is no driver, or no such GPU."""
        pynvml.nvmlInit()
        self._handle = _handle(uuid)
        self.memory_limit = int(pynvml.nvmlDeviceGetMemoryInfo(self._handle).total)

    @classmethod
    def of(cls, device: torch.device) -> GpuGauge | None:
        """Of the GPU that this process computes on, by its number in CUDA_VISIBLE_DEVICES; None where there is none."""
        if device.type != "cuda":
            return None
        try:
            return cls(str(torch.cuda.get_device_properties(device).uuid))
        except pynvml.NVMLError:
            return None

    def busy(self) -> float | None:
        """The share of the last moments, 0–1, in which a kernel ran; None where the driver does not tell."""
        try:
            return float(pynvml.nvmlDeviceGetUtilizationRates(self._handle).gpu) / 100
        except pynvml.NVMLError:
            return None  # parts of a GPU (MIG) are not watched

    def memory(self) -> int | None:
        """Bytes taken; None where the driver does not tell."""
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


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").splitlines()
    except OSError:
        return []
