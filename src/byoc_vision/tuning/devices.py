"""The device of each trial: a GPU, or a share of the CPU's cores."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from byoc_vision.system.machine import GPU_VARIABLE, available_cores
from byoc_vision.tuning.locks import Lock

THREADS_VARIABLE = "OMP_NUM_THREADS"

_NO_FILE_NAME = re.compile(r"[^\w-]")


@contextmanager
def one_gpu(names: tuple[str, ...], turn: int, locks: Path) -> Iterator[Mapping[str, str]]:
    """The variables that show a trial a single GPU: a free one if there is any.

    turn: the GPU to share if each has a trial already. locks: the folder of the GPUs' locks.
    """
    if not names:
        yield {}
        return
    name, lock = names[turn % len(names)], None
    for candidate in names[turn % len(names) :] + names[: turn % len(names)]:
        if lock := Lock.if_free(locks / f"gpu-{_NO_FILE_NAME.sub('-', candidate)}.lock"):
            name = candidate
            break
    try:
        yield {GPU_VARIABLE: name}
    finally:
        if lock:
            lock.release()


def threads(environment: Mapping[str, str], processes: int) -> Mapping[str, str]:
    """The variable that divides the cores among parallel trials, unless it is set already."""
    if processes == 1 or THREADS_VARIABLE in environment:
        return {}
    return {THREADS_VARIABLE: str(max(1, available_cores() // processes))}
