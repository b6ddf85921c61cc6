"""MLflow's own server as a process."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from mlflow import MlflowClient
from support.servers import free_port
from support.waiting import wait_until


@dataclass(frozen=True)
class Server:
    uri: str
    process: subprocess.Popen[bytes]

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.uri)

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """It takes connections, as the kernel does for it, and answers nothing."""
        os.killpg(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self.process.pid, signal.SIGCONT)


@contextmanager
def started(program: Path, folder: Path) -> Iterator[Server]:
    """A server on a free port that keeps everything below `folder`."""
    port = free_port()
    command = [
        str(program), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder / 'runs.db'}", "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
            start_new_session=True,
        )
    try:
        wait_until_ready(f"http://127.0.0.1:{port}", process, folder / "log")
        yield Server(f"http://127.0.0.1:{port}", process)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def wait_until_ready(uri: str, process: subprocess.Popen[bytes], log: Path) -> None:
    def is_ready() -> bool:
        try:
            with urlopen(f"{uri}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False

    wait_until(is_ready, lambda: log.read_text(errors="replace"), lambda: process.poll() is None)
