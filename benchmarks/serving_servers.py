"""Starts, watches and ends the servers of the serving benchmarks: ours, and the peers of `serving_peers/`.

Each peer has a folder there: its server as in its own documentation, `requirements.txt`, and `start.sh`, which
gets MODEL, TASK, PORT (PORT_2 … PORT_5), CORES, SCRATCH, PYTHON and BIN from its environment.
"""

from __future__ import annotations

import http.client
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from processes import cpu_seconds, family
from serving_install import PEERS_FOLDER, ServerError, install
from serving_models import Served

READY_LIMIT = 300.0  # seconds
STOP_LIMIT = 15.0
PORTS = range(20_000, 32_000)
OURS = "ours"
CORES = len(os.sched_getaffinity(0))
OWN: dict[str, dict[str, str]] = {  # with their settings
    OURS: {},
    "ours_float32": {"PRECISION": "float32"},
    "ours_openvino": {"ENGINE": "openvino"},
}
OWN_OF_A_MODEL, OWN_OF_A_SCRIPT = (OURS, "ours_float32"), (OURS, "ours_openvino")
PEERS = {  # the path that images are posted to
    "flask": "/invocations",
    "litserve": "/predict",
    "bentoml": "/invocations",
    "torchserve": "/predictions/net",
    "multi_model_server": "/predictions/net",
}


@dataclass(frozen=True)
class Server:
    """A running server, and the address for images."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    path: str
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"

    def post(self, body: bytes) -> tuple[int, bytes]:
        """The status and the body of the response. Raises OSError if no server responds."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=READY_LIMIT)) as connection:
            connection.request("POST", self.path, body, {"Content-Type": "image/jpeg"})
            response = connection.getresponse()
            return response.status, response.read()

    def status(self, path: str) -> int | None:
        """The status of a GET; None if no server listens."""
        try:
            with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=READY_LIMIT)) as connection:
                connection.request("GET", path)
                return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None

    def wait(self, ready: Callable[[], bool], pause: float = 0.2) -> None:
        """Raises ServerError with the end of the log if the server does not get ready."""
        limit = time.monotonic() + READY_LIMIT
        while not ready():
            if self.process.poll() is not None:
                raise ServerError(f"{self.name} ended with {self.process.returncode}:\n{self.tail()}")
            if time.monotonic() > limit:
                raise ServerError(f"{self.name} is not ready after {READY_LIMIT:.0f} s:\n{self.tail()}")
            time.sleep(pause)

    def precision(self) -> str:
        """What it computes in: that of ours is in its log; the peers and scripts compute in PyTorch's default."""
        log = self.log.read_text(errors="replace")
        if "OpenVINO computes the script's model" in log:
            return "OpenVINO float32"
        found = re.findall(r"ready after .*, ([^,]+) on (?:cpu|cuda)", log)
        return found[-1] if found else "PyTorch float32"

    def cpu_seconds(self) -> float:
        """Its processes that are still alive."""
        return sum(map(cpu_seconds, family(self.process.pid)))

    def pause(self) -> None:
        """Stop all its processes until `go_on`."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for process in family(self.process.pid):
            with suppress(ProcessLookupError):
                os.kill(process, number)

    def tail(self) -> str:
        """The end of its log."""
        return "\n".join(line[:300] for line in self.log.read_text(errors="replace").splitlines()[-15:])


@contextmanager
def start(name: str, served: Served, folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A server of OWN or a peer, ready for images; it ends with the block. Raises ServerError."""
    if name in OWN:
        with start_ours(served, folder, OWN[name] | dict(environment or {}), name) as server:
            server.wait(lambda: server.status("/ping") == 200)
            yield server
        return
    python = install(name)
    image = served.images[0].read_bytes()
    with start_peer(name, python, served, folder) as server:
        server.wait(lambda: _answers(server, image))
        yield server


@contextmanager
def start_ours(
    served: Served, folder: Path, environment: Mapping[str, str] | None = None, name: str = OURS
) -> Iterator[Server]:
    port = free_ports(1)[0]
    command = [sys.executable, "-m", "byoc_vision", "serve", "--root", str(served.root), "--port", str(port)]
    with _running(command, folder, served.environment | dict(environment or {}), Path.cwd()) as (process, log):
        yield Server(name, process, port, "/invocations", log)


@contextmanager
def start_image(client: str, image: str, served: Served, folder: Path) -> Iterator[Server]:
    """A container of our image, with as many cores as this process has. client: docker or a compatible command."""
    port = free_ports(1)[0]
    command = [client, "run", "--rm", "--cpus", str(CORES), "--publish", f"127.0.0.1:{port}:8080"]
    command += ["--volume", f"{served.root / 'model'}:/opt/ml/model:ro", image, "serve"]
    with _running(command, folder, {}, Path.cwd()) as (process, log):
        yield Server(image, process, port, "/invocations", log)


@contextmanager
def start_peer(name: str, python: Path, served: Served, folder: Path) -> Iterator[Server]:
    ports = free_ports(5)
    environment = {
        "MODEL": str(served.usual),
        "TASK": served.task,
        "CORES": str(CORES),
        # As many workers as cores, with one thread each: more threads would compete for the cores.
        "OMP_NUM_THREADS": "1",
        "SCRATCH": str(folder),
        "TMPDIR": str(folder),  # two of them write their process id there, and do not start twice
        "PYTHON": str(python),
        "BIN": str(python.parent),
        "PYTHONPATH": str(PEERS_FOLDER),
        "PORT": str(ports[0]),
        **{f"PORT_{number}": str(port) for number, port in enumerate(ports[1:], start=2)},
    }
    with _running(["sh", "-e", "start.sh"], folder, environment, PEERS_FOLDER / name) as (process, log):
        yield Server(name, process, ports[0], PEERS[name], log)


def free_ports(count: int) -> list[int]:
    """Free ports below the kernel's client ports; multi-model-server accepts no others."""
    return list(islice(filter(_is_free, random.sample(PORTS, len(PORTS))), count))


def _is_free(port: int) -> bool:
    with closing(socket.socket()) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@contextmanager
def _running(
    command: list[str], folder: Path, environment: dict[str, str], place: Path
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A process in its own session; the whole session ends with the block."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            cwd=place,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process, log
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Send SIGTERM to the server, then SIGKILL to all of its processes that are still alive."""
    known = family(process.pid) if process.poll() is None else []
    process.terminate()
    try:
        process.wait(STOP_LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for one in known:
        if _session(one) == process.pid:  # another process may have its id by now
            os.kill(one, signal.SIGKILL)


def _session(process: int) -> int | None:
    try:
        return os.getsid(process)
    except ProcessLookupError:
        return None


def _answers(server: Server, image: bytes) -> bool:
    try:
        return server.post(image)[0] == 200
    except (OSError, http.client.HTTPException):
        return False
