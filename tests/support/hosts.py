"""Two hosts of a job on one machine: a folder each, which both call by one name, and a loopback address each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from byoc_vision.paths import MlPaths

HOSTS = ("127.0.0.1", "127.0.0.2")
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


def start(paths: MlPaths) -> subprocess.Popen[str]:
    """Start one host's part of the job; its log goes to the file `log` in its folder."""
    command = [sys.executable, "-m", "byoc_vision", "train", "--root", str(ROOT)]
    with (paths.root / "log").open("w") as log:
        return subprocess.Popen(
            command, cwd=paths.root, stdout=log, stderr=subprocess.STDOUT, text=True, env=dict(os.environ)
        )


def log_of(paths: MlPaths) -> str:
    return (paths.root / "log").read_text()
