"""How many processes load images, and the settings of each of them."""

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
    """Bytes of shared memory through which workers can pass batches; None if the system has no such folder.

    shared_by: the number of training processes on this machine, each with its own workers.
    """
    return shutil.disk_usage(folder).free // shared_by if folder.is_dir() else None


def choose_workers(
    *, batches: int, batch_bytes: int, cores: int, on_gpu: bool, shared_memory: int | None, requested: int | None = None
) -> int:
    """The number of loader processes; 0 loads in the training process itself.

    A container started without `--shm-size` has 64 MB of shared memory, and a worker that finds it full dies of a bus
    error: so there are no more workers than it has room for batches.

    Args:
        batches: of an epoch; more workers than this would be idle.
        batch_bytes: the size of a batch.
        cores: of this process. Without a GPU the model gets half of them.
        shared_memory: its free bytes; None if there is none.
        requested: by the user; by default all cores if there is a GPU, at most 16.
    """
    wanted = requested if requested is not None else min(cores if on_gpu else cores // 2, MOST_WORKERS)
    workers = min(wanted, batches) if batches > 1 else 0
    if shared_memory is None or workers == 0:
        return workers
    # The prefetched batches and the next one, times two because sizes vary.
    fitting = shared_memory // max(1, 2 * (PREFETCHED_BATCHES + 1) * batch_bytes)
    if fitting < workers:
        logger.warning(
            "%d MB of shared memory are enough for %d loader processes, not %d; give the container more (--shm-size)",
            shared_memory // 2**20,
            fitting,
            workers,
        )
    return min(workers, fitting)


def start_worker(_: int) -> None:
    """One thread in each loader process, and a process group of its own.

    Ctrl-C and other signals to a process group reach only the training process, which needs its loaders to finish the
    step.
    """
    import torch  # here, so that commands that only check images start without it

    os.setpgid(0, 0)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
