"""A process that fails among several: run by a test in processes of their own."""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch
import torch.distributed as dist

from byoc_vision.launch.distributed import World, process_group
from byoc_vision.launch.error_files import FAILURES_FOLDER
from byoc_vision.launch.oom import explained
from byoc_vision.paths import MlPaths
from byoc_vision.training import main


def work(*_: object) -> int:
    """The last process runs out of memory while the others wait for it."""
    world = World.from_environment()
    with process_group(world), explained(16):
        if world.rank == world.size - 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        dist.barrier()
    return 0


def leave_the_group() -> None:
    """As NCCL may leave it after an error: never."""
    time.sleep(1_000)


def fail(rank: int, size: int, port: int, folder: str) -> int:
    """`train_job` with `work` in place of a training; its status."""
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        FAILURES_FOLDER: folder,
    }
    dist.destroy_process_group = leave_the_group
    main.run = work  # type: ignore[assignment]
    return main.train_job(MlPaths(Path(folder)))
