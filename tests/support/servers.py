"""The real server as a process, on a port of its own, and models for it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import requests
import torch
from support import forked, standin_server
from support.waiting import wait_until

from byoc_vision import artifact
from byoc_vision.artifact import ModelConfig
from byoc_vision.cli import main
from byoc_vision.inference import openvino_model
from byoc_vision.models.build import build_model
from byoc_vision.preprocess import Preprocess
from byoc_vision.types import ClassInfo, ModelSpec

COMMAND = Path(sys.executable).with_name("byoc-vision")
READY_LIMIT = 100  # seconds


@dataclass(frozen=True)
class Server:
    """A server that was started; its log is a file, so that it never waits for us to read it."""

    process: subprocess.Popen[bytes] | forked.Forked
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ping(self) -> int | None:
        """The status of /ping, or None if the server does not listen."""
        try:
            return requests.get(f"{self.url}/ping", timeout=READY_LIMIT).status_code
        except requests.ConnectionError:
            return None

    def pings_until(self, wanted: int) -> list[int | None]:
        """Every different status of /ping, in order, up to the one wanted."""
        seen: list[int | None] = []

        def is_wanted() -> bool:
            status = self.ping()
            if status not in seen[-1:]:
                seen.append(status)
            return status == wanted

        wait_until(
            is_wanted,
            lambda: f"/ping said {seen}, never {wanted}:\n{self.log.read_text()}",
            lambda: self.process.poll() is None,
        )
        return seen

    def post(self, body: bytes, content_type: str | None = None, **headers: str) -> requests.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if content_type is not None:
            named["Content-Type"] = content_type
        return requests.post(f"{self.url}/invocations", data=body, headers=named, timeout=READY_LIMIT)

    def kill_worker(self) -> None:
        """As the kernel does where memory runs out. Waits for a worker to be there, and to be gone."""
        wait_until(lambda: self._worker() is not None, self.log.read_text)
        worker = self._worker()
        assert worker is not None
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: self._worker() != worker, self.log.read_text)

    def _worker(self) -> int | None:
        """The process id of the first worker, if there is one."""
        with suppress(FileNotFoundError):  # the server itself has ended
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            return int(children[0]) if children else None
        return None

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def exit_status(self) -> int:
        """Waits for the end."""
        return self.process.wait(READY_LIMIT)


@contextmanager
def start(root: Path, log: Path, environment: Mapping[str, str] | None = None) -> Iterator[Server]:
    """`byoc-vision serve` on the model of `root`, as a user starts it, until the block ends."""
    port = free_port()
    command = [COMMAND, "serve", "--root", root, "--port", str(port)]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ, **(environment or {})})
    yield from _until_the_block_ends(Server(process, port, log))


@contextmanager
def fork(root: Path, log: Path, environment: Mapping[str, str] | None = None) -> Iterator[Server]:
    """The same, forked from a process that has imported the libraries, which takes the command seconds."""
    port = free_port()
    arguments = ["serve", "--root", str(root), "--port", str(port)]
    yield from _until_the_block_ends(Server(forked.start(main, arguments, log=log, environment=environment), port, log))


@contextmanager
def start_standin(
    log: Path, gate: Path | None = None, error: str = "", environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """A server whose model is busy with a batch while the file `gate` exists, and raises `error` at a white image."""
    port = free_port()
    process = forked.start(standin_server.serve, port, gate, error, log=log, environment=environment)
    yield from _until_the_block_ends(Server(process, port, log))


def _until_the_block_ends(server: Server) -> Iterator[Server]:
    try:
        yield server
    finally:
        server.terminate()
        server.exit_status()


_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
_PORTS = iter(range(20_000 + 1_000 * (_WORKER % 12), 21_000 + 1_000 * (_WORKER % 12)))


def free_port() -> int:
    """A port that nothing else takes before the server does: each process of the tests has its own, each once.

    The system gives ports from 32768 to those who ask for any.
    """
    for port in _PORTS:
        with closing(socket.socket()) as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is left")


def save_segmenter(folder: Path, size: int = 64, model: str = "unet_small", for_cpus: bool = False) -> ModelConfig:
    """Two classes, random weights. for_cpus: with what OpenVINO reads, as a job leaves it."""
    classes = (ClassInfo(name="background", value=0), ClassInfo(name="car", value=255))
    spec = ModelSpec(task="segmentation", architecture=model, outputs=1)
    return _save(folder, spec, classes, "sigmoid", Preprocess(height=size, width=size), for_cpus)


def save_many_classes(folder: Path, size: int = 64) -> ModelConfig:
    """Six classes, random weights, masks."""
    classes = tuple(ClassInfo(name=f"thing {value}", value=value) for value in range(0, 60, 10))
    spec = ModelSpec(task="segmentation", architecture="unet_small", outputs=len(classes))
    return _save(folder, spec, classes, "softmax", Preprocess(height=size, width=size), for_cpus=False)


def save_tagger(folder: Path) -> ModelConfig:
    """Twelve classes of which an image may have several, random weights."""
    classes = tuple(ClassInfo(name=f"tag {number}") for number in range(12))
    spec = ModelSpec(task="classification", architecture="resnet10t", outputs=len(classes))
    return _save(folder, spec, classes, "sigmoid", Preprocess(height=32, width=32, resize="short_side"), for_cpus=False)


def save_classifier(folder: Path, architecture: str = "resnet10t", for_cpus: bool = False) -> ModelConfig:
    """Three classes, random weights. for_cpus: as above."""
    classes = tuple(ClassInfo(name=name) for name in ("dress", "hat", "shoes"))
    spec = ModelSpec(task="classification", architecture=architecture, outputs=3)
    return _save(folder, spec, classes, "softmax", Preprocess(height=32, width=32, resize="short_side"), for_cpus)


def _save(
    folder: Path,
    spec: ModelSpec,
    classes: tuple[ClassInfo, ...],
    activation: str,
    preprocess: Preprocess,
    for_cpus: bool,
) -> ModelConfig:
    config = ModelConfig(model=spec, classes=classes, activation=activation, preprocess=preprocess)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = build_model(spec)
        artifact.save(folder, config, net.state_dict())
        if for_cpus:
            openvino_model.write(folder, config, net)
    return config
