"""A trial's training job: `byoc-vision train` in its own process and its own folder."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from byoc_vision.paths import MlPaths
from byoc_vision.report.record import IMAGES_FOLDER

LOG_FILE = "log.txt"
# Features that trials skip: there are many, and none is resumed. The best model gets its report and its OpenVINO export
# when the search ends.
SPARED = {"report": "false", "tensorboard": "false", "openvino": "false", "int8": "false", "checkpoint_keep": "0"}

STEP_SECONDS = 20.0  # for a job that was asked to stop to end its step


class TrialJob:
    """One training job, from its folder to its exit status."""

    def __init__(self, paths: MlPaths) -> None:
        self.paths = paths
        self._process: subprocess.Popen[str] | None = None
        self._asked_to_stop = False
        self._timers: list[threading.Timer] = []

    @property
    def log_file(self) -> Path:
        return self.paths.root / LOG_FILE

    def prepare(self, hyperparameters: Mapping[str, str], channels: Mapping[str, Path]) -> None:
        """Create an empty folder with the job's inputs. Images are linked, not copied."""
        shutil.rmtree(self.paths.root, ignore_errors=True)
        self.paths.channels.mkdir(parents=True)
        for name, folder in channels.items():
            self.paths.channel(name).symlink_to(folder)
        self.paths.hyperparameters.parent.mkdir(parents=True)
        self.paths.hyperparameters.write_text(json.dumps({**hyperparameters, **SPARED}, indent=2) + "\n")

    def lines(self, environment: Mapping[str, str]) -> Iterator[str]:
        """Start the job; yields its log line by line, and writes it to a file."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "byoc_vision", "train", "--root", str(self.paths.root)],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C reaches the search alone, which stops its jobs
        )
        if self._asked_to_stop:
            self._send(signal.SIGTERM)
        assert self._process.stdout is not None
        with self._process.stdout as output, self.log_file.open("w", encoding="utf-8", errors="replace") as log:
            for line in output:
                log.write(line)
                log.flush()
                yield line.rstrip("\n")

    def stop(self, seconds: float = STEP_SECONDS) -> None:
        """Ask the job to stop, as SageMaker does, and kill it if it does not within `seconds`."""
        self._asked_to_stop = True
        self._send(signal.SIGTERM)
        timer = threading.Timer(seconds, self.kill)
        timer.daemon = True
        timer.start()
        self._timers.append(timer)

    def kill(self) -> None:
        """Kill the job and its loader processes."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Its exit status, once its log has ended; negative if a signal ended it."""
        assert self._process is not None, "`lines` has started it"
        status = self._process.wait()
        for timer in self._timers:
            timer.cancel()
        return status

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def why_it_failed(self, status: int) -> str:
        """In one line: the beginning of the failure file, else what ended the process."""
        try:
            lines = self.paths.failure.read_text(encoding="utf-8").splitlines()
        except OSError:
            lines = []
        if lines:
            return f"{lines[0]} {lines[1].strip()}" if lines[0].endswith(":") and len(lines) > 1 else lines[0]
        if status < 0:
            name = signal.Signals(-status).name
            return f"The job was ended by {name}, usually by the kernel because memory ran out"
        return f"The job ended with status {status}; see {self.log_file}"

    def tidy(self) -> None:
        """Keep the metrics, the log and the hyperparameters; remove weights and images."""
        images = self.paths.output_data / IMAGES_FOLDER
        for folder in (self.paths.model, self.paths.checkpoints, self.paths.channels, images):
            shutil.rmtree(folder, ignore_errors=True)
