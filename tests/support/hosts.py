"""Two hosts of a job on one machine: a process and a folder each, and both call their folder by one name."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from byoc_vision.paths import MlPaths

HOSTS = ("algo-1", "algo-2")
# Files of several hosts have the same path, as below /opt/ml: each process is started in its host's folder.
ROOT = Path("/proc/self/cwd")


def declare(root: Path, host: str, sharded: Sequence[str], **hyperparameters: str) -> MlPaths:
    """Write a host's configuration below its folder. sharded: the channels of which it has a part."""
    paths = MlPaths(root)
    paths.hyperparameters.parent.mkdir(parents=True, exist_ok=True)
    paths.hyperparameters.write_text(json.dumps(hyperparameters))
    paths.resource_config.write_text(json.dumps({"current_host": host, "hosts": list(HOSTS)}))
    paths.input_data_config.write_text(json.dumps({name: {"S3DistributionType": "ShardedByS3Key"} for name in sharded}))
    return paths


def start(hosts: Sequence[MlPaths]) -> list[subprocess.Popen[str]]:
    """Start a job's hosts, as their launchers would; the log of each goes to the file `log` in its folder."""
    port = _free_port()
    return [_start(paths, rank, port) for rank, paths in enumerate(hosts)]


def _start(paths: MlPaths, rank: int, port: int) -> subprocess.Popen[str]:
    place = {"RANK": str(rank), "LOCAL_RANK": "0", "WORLD_SIZE": str(len(HOSTS))}
    environment = {**os.environ, **place, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "byoc_vision", "train", "--root", str(ROOT)]
    with (paths.root / "log").open("w") as log:
        return subprocess.Popen(
            command, cwd=paths.root, stdout=log, stderr=subprocess.STDOUT, text=True, env=environment
        )


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def log_of(paths: MlPaths) -> str:
    return (paths.root / "log").read_text()
