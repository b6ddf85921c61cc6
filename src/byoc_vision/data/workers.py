"""How many processes load images, and what each of them must set."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import cv2

logger = logging.getLogger(__name__)

PREFETCHED_BATCHES = 2
MOST_WORKERS = 16
SHARED_MEMORY = Path("/dev/shm")


def free_shared_memory(folder: Path = SHARED_MEMORY, shared_by: int = 1) -> int | None:
    """Bytes through which workers can hand over batches; None where the system has no such folder.

    `shared_by`: the training processes of this machine, each with workers of its own.
    """
    return shutil.disk_usage(folder).free // shared_by if folder.is_dir() else None


def choose_workers(
    *, batches: int, batch_bytes: int, cores: int, on_gpu: bool, shared_memory: int | None, requested: int | None = None
) -> int:
    """The number of loader processes; 0 loads in the training process itself.

    batches: of an epoch; more workers than these would idle.
    cores: that this process may count as its own. On a CPU half of them are left to the model.
    requested: what the user asked for; otherwise all cores next to a GPU, at most 16.
    A container started without `--shm-size` has 64 MB of shared memory, and a worker that finds it full dies of
    a bus error: so no more workers than it can hold batches for.
    """
    wanted = requested if requested is not None else min(cores if on_gpu else cores // 2, MOST_WORKERS)
    workers = min(wanted, batches) if batches > 1 else 0
    if shared_memory is None or workers == 0:
        return workers
    # What is prefetched, one in the making, and as much again for sizes that vary.
    fitting = shared_memory // max(1, 2 * (PREFETCHED_BATCHES + 1) * batch_bytes)
    if fitting < workers:
        logger.warning(
            "%d MB of shared memory suffice for %d loader processes, not for %d; give the container more (--shm-size)",
            shared_memory // 2**20,
            fitting,
            workers,
        )
    return min(workers, fitting)


def start_worker(_: int) -> None:
    """One thread in each loader process: there are as many processes as the cores bear.

    Ctrl-C and what else asks a whole group of processes to stop is for the training process, which needs its loaders
    for the step that it finishes.
    """
    import torch  # here, so that what checks images alone starts without it

    os.setpgid(0, 0)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
