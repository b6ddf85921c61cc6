"""Runs a job that is killed again and again, and goes on each time: a script, so that it can fork before any thread.

    python -m support.killed_training ROOT KILLS SEED

Trains ROOT in child processes. Each of the first KILLS is killed by SIGKILL, up to a tenth of a second after its
first checkpoint, that is at any point of a step or of a write. The last one is left alone.
Prints how many were killed, and the status of the last.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from pathlib import Path

import albumentations
import segmentation_models_pytorch
import timm
import torch
import torchmetrics

import byoc_vision.training.run
from byoc_vision.logs import set_up_logging
from byoc_vision.paths import MlPaths
from byoc_vision.training.checkpoint_store import CheckpointStore
from byoc_vision.training.entry import train_job


def start(root: Path) -> int:
    """The process id of a child that trains, and logs into ROOT/log."""
    pid = os.fork()
    if pid:
        return pid
    log = os.open(root / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    set_up_logging()
    os._exit(train_job(MlPaths(root)))


def wait_for_checkpoints(store: CheckpointStore, count: int, pid: int) -> None:
    """Return once there are `count` checkpoints more, or the child has ended."""
    wanted = store.next_number() + count
    while store.next_number() < wanted and not os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG):
        signal.sigtimedwait({signal.SIGCHLD}, 0.002)


def main(root: Path, kills: int, seed: int) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    store, generator, killed = CheckpointStore(MlPaths(root).checkpoints), random.Random(seed), 0
    for _ in range(kills):
        pid = start(root)
        wait_for_checkpoints(store, 1, pid)
        signal.sigtimedwait({signal.SIGCHLD}, generator.uniform(0, 0.1))
        os.kill(pid, signal.SIGKILL)
        killed += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    status = os.waitstatus_to_exitcode(os.waitpid(start(root), 0)[1])
    print(json.dumps({"killed": killed, "status": status}))


if __name__ == "__main__":
    LATE_IMPORTS = (byoc_vision.training.run, albumentations, segmentation_models_pytorch, timm, torchmetrics)
    assert all(module.__name__ in sys.modules for module in LATE_IMPORTS), "once, before the first child is started"
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
