"""Several processes of a job on this machine, started as its launcher would: see forked.py.

Either they are one host's, or two hosts': a process and a folder each, and both call their folder by one name.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from support import forked
from support.jobs import write_hyperparameters
from support.servers import free_port

from byoc_vision.cli import main
from byoc_vision.paths import MlPaths

HOSTS = ("algo-1", "algo-2")
# Files of several hosts have the same path, as below /opt/ml: each process is started in its host's folder.
ROOT = Path("/proc/self/cwd")


def declare(root: Path, host: str, sharded: Sequence[str], **hyperparameters: str) -> MlPaths:
    """Write a host's configuration below its folder. sharded: the channels of which it has a part."""
    paths = MlPaths(root)
    write_hyperparameters(paths, hyperparameters)
    paths.resource_config.write_text(json.dumps({"current_host": host, "hosts": list(HOSTS)}))
    paths.input_data_config.write_text(json.dumps({name: {"S3DistributionType": "ShardedByS3Key"} for name in sharded}))
    return paths


def start(hosts: Sequence[MlPaths]) -> list[forked.Forked]:
    """Start a job's hosts; the log of each goes to the file `log` in its folder."""
    port = free_port()
    return [_start(paths, port, rank=rank, local_rank=0, size=len(hosts)) for rank, paths in enumerate(hosts)]


def train_on_one(paths: MlPaths, processes: int, **environment: str) -> str:
    """Train with some processes of one host; what they said."""
    port, environment = free_port(), {**environment, "BYOC_PROCESSES_PER_HOST": str(processes)}
    started = [
        _start(paths, port, rank=rank, local_rank=rank, size=processes, **environment) for rank in range(processes)
    ]
    try:
        statuses = [process.wait(300) for process in started]
    finally:
        for process in started:
            process.kill()
    assert statuses == [0] * processes, log_of(paths)
    return log_of(paths)


def _start(paths: MlPaths, port: int, rank: int, local_rank: int, size: int, **environment: str) -> forked.Forked:
    place = {"RANK": str(rank), "LOCAL_RANK": str(local_rank), "WORLD_SIZE": str(size)}
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return forked.start(
        main,
        ["train", "--root", str(ROOT)],
        log=paths.root / "log",
        folder=paths.root,
        environment={**environment, **place, **address},
    )


def log_of(paths: MlPaths) -> str:
    return (paths.root / "log").read_text()
