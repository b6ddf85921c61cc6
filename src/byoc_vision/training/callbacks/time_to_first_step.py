"""How long a job took to its first step."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import torch

from byoc_vision.training.callbacks.base import Callback

logger = logging.getLogger(__name__)

_OWN_STAT = Path("/proc/self/stat")
_STARTED = 19  # starttime, counted from the field after the program's name: proc_pid_stat(5)


class TimeToFirstStep(Callback):
    """Logs how long this process took to its first step."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._done = False

    def step_end(self) -> None:
        if self._done:
            return
        self._done = True
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        if (seconds := seconds_since_start()) is not None:
            logger.info("The first step was done %.1f s after the start", seconds)


def seconds_since_start(stat: Path = _OWN_STAT) -> float | None:
    """Since this process was started, its imports included; None if the system does not say."""
    try:
        fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        started = int(fields[_STARTED]) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started
    except (OSError, AttributeError, ValueError, IndexError):
        return None
