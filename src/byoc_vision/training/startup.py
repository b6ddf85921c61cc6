"""From the start of a job to its first step: what can be done meanwhile, and how long it took."""

from __future__ import annotations

import importlib
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.models.names import OWN_UNETS

log = logging.getLogger(__name__)

_OWN_FACTS = Path("/proc/self/stat")
_STARTED = 19  # starttime, counted from the field after the program's name: proc_pid_stat(5)


def libraries(hyperparameters: Hyperparameters) -> list[str]:
    """What the job will import once its data are known. Together they take about as long as torch itself.

    Every optimiser of torch imports torch._dynamo when it is made.
    """
    names = ["torch._dynamo"]
    if hyperparameters.encoder is not None:
        names.append("segmentation_models_pytorch")
    elif hyperparameters.model not in OWN_UNETS:
        names.append("timm")
    return names


@contextmanager
def importing(names: Sequence[str]) -> Iterator[None]:
    """Import modules in a thread beside what is done here; at the end they are there.

    One that cannot be imported is left to whoever needs it.
    """
    thread = threading.Thread(target=_import_all, args=(names,), name="imports", daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _import_all(names: Sequence[str]) -> None:
    for name in names:
        with suppress(Exception):
            importlib.import_module(name)


class FirstStep:
    """Tells the log how long this process took to its first step. Call it after each."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._done = False

    def __call__(self) -> None:
        if self._done:
            return
        self._done = True
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        if (seconds := seconds_since_start()) is not None:
            log.info("The first step was done %.1f s after the start", seconds)


def seconds_since_start(facts: Path = _OWN_FACTS) -> float | None:
    """Since this process was started, its imports included; None where the system does not tell."""
    try:
        fields = facts.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        started = int(fields[_STARTED]) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started
    except (OSError, AttributeError, ValueError, IndexError):
        return None
