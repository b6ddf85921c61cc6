"""Real jobs on drawn images, as a user starts them, for the tests on a GPU."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

SMALL = {
    "batch_size": "8",
    "image_size": "64",
    "num_workers": "2",
    "openvino": "false",
    "precision": "auto" if torch.cuda.is_available() else "float32",  # on a CPU it is measured: two jobs may differ
    "pretrained": "false",
    "report": "false",
    "tensorboard": "false",
}
SECONDS = 600.0  # run.py has the limit that matters


@dataclass(frozen=True)
class Ran:
    """A job that has ended."""

    status: int
    log: str
    folder: Path

    @property
    def last_epoch(self) -> str:
        lines = re.findall(r"epoch=.*", self.log)
        return str(lines[-1])[:200] if lines else "no epoch"

    @property
    def failure(self) -> str:
        return (self.folder / "output" / "failure").read_text(encoding="utf-8")


def sample_data(folder: Path) -> Path:
    """Drawn images of both tasks, in `segmentation` and `classification`."""
    drawn = folder / "drawn"
    if not drawn.exists():
        run(["sample-data", "--output", str(drawn)], folder / "sample-data.log")
    return drawn


def run(arguments: list[str], log: Path, **environment: str) -> int:
    with log.open("ab") as file:
        command = [sys.executable, "-m", "byoc_vision", *arguments]
        return subprocess.run(
            command, env=os.environ | environment, stdout=file, stderr=file, timeout=SECONDS
        ).returncode


def train(folder: Path, name: str = "job", stop_after: str = "", **settings: str) -> Ran:
    """Train on the drawn images of `task`, by default segmentation.

    settings: hyperparameters, and in capitals environment variables.
    stop_after: a text; once it is in the log, the job gets SIGTERM.
    """
    environment = {key: value for key, value in settings.items() if key.isupper()}
    task = settings.get("task", "segmentation")
    chosen = SMALL | {key: value for key, value in settings.items() if not key.isupper() and key != "task"}
    job, data = folder / name, sample_data(folder) / task
    log = folder / f"{name}.log"
    job.mkdir(exist_ok=True)
    (job / "input" / "config").mkdir(parents=True, exist_ok=True)
    if not (job / "input" / "data").exists():
        (job / "input" / "data").symlink_to(data)
    arguments = ["train", "--root", str(job), *(f"{key}={value}" for key, value in chosen.items())]
    if not stop_after:
        status = run(arguments, log, **environment)
        return Ran(status, log.read_text(errors="replace"), job)
    with log.open("ab") as file:
        command = [sys.executable, "-m", "byoc_vision", *arguments]
        process = subprocess.Popen(command, env=os.environ | environment, stdout=file, stderr=file)
        limit = time.monotonic() + SECONDS
        while stop_after not in log.read_text(errors="replace") and process.poll() is None:
            assert time.monotonic() < limit, log.read_text(errors="replace")
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        return Ran(process.wait(SECONDS), log.read_text(errors="replace"), job)
