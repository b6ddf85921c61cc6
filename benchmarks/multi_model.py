"""Compares our multi-model server and multi-model-server with ten models each: speed, memory, and the time to load.

    .venv/bin/python benchmarks/multi_model.py [--seconds 4] [--turns 5] [--output benchmarks/results/multi_model.json]

ResNet-18 at 224 with random weights, drawn JPEG images of 500 × 375. Both servers run and get requests in turns: from 1
connection, from 8 for the same model, and from 8 for a different model each time. Memory is the proportional set size
of all processes. multi-model-server must be installed (docker/multi-model-server.lock) and needs Java.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common import PET, encode, write

from byoc_vision import artifact
from byoc_vision.artifact import ModelConfig
from byoc_vision.inference import openvino_model
from byoc_vision.models.build import build_model
from byoc_vision.preprocess import Preprocess
from byoc_vision.types import ClassInfo, ModelSpec

PORTS = {"own": 18080, "mms": 18081}  # multi-model-server accepts none above 32767
MODELS = 10
LOADS = {"1 connection": (1, 1), "8 connections, 1 model": (8, 1), "8 connections, 10 models": (8, MODELS)}
START_SECONDS = 120


class Server:
    """A multi-model server in its own process group."""

    def __init__(self, name: str, root: Path) -> None:
        self.port = PORTS[name]
        self.log = root / f"{name}.log"
        variables = {"SAGEMAKER_MULTI_MODEL": "true", "MULTI_MODEL_SERVER": name, "LANG": "C.UTF-8"}
        command = [sys.executable, "-m", "byoc_vision", "serve", "--root", str(root), "--port", str(self.port)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env=os.environ | variables, start_new_session=True
            )

    def wait(self) -> None:
        limit = time.monotonic() + START_SECONDS
        while time.monotonic() < limit and self.process.poll() is None:
            try:
                if self.call("GET", "/ping")[0] == 200:
                    return
            except OSError:
                time.sleep(0.1)
        sys.exit(f"the server on port {self.port} did not come up:\n{self.log.read_text()[-2000:]}")

    def call(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()

    def load(self, name: str, url: Path) -> float:
        """Seconds."""
        started = time.perf_counter()
        status, body = self.call("POST", "/models", {"model_name": name, "url": str(url)})
        if status != 200:
            sys.exit(f"loading {name} on port {self.port}: {status} {body.decode()}\n{self.log.read_text()[-2000:]}")
        return time.perf_counter() - started

    def megabytes(self) -> float:
        return sum(_proportional(process) for process in self._processes()) / 1000

    def end(self) -> None:
        self.process.terminate()
        self.process.wait()
        for process in self._processes():  # workers of multi-model-server outlive it
            os.kill(process, signal.SIGKILL)

    def _processes(self) -> Iterator[int]:
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                session = stat.read_text().rpartition(")")[2].split()[3]
            except OSError:
                continue
            if int(session) == self.process.pid:
                yield int(stat.parent.name)


def _proportional(process: int) -> int:
    """The memory in kB; 0 if the process has just ended."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def make_model(folder: Path) -> None:
    spec = ModelSpec(task="classification", architecture="resnet18", outputs=10)
    classes = tuple(ClassInfo(name=f"class_{index}") for index in range(10))
    preprocess = Preprocess(height=224, width=224, resize="short_side")
    config = ModelConfig(model=spec, classes=classes, activation="softmax", preprocess=preprocess)
    network = build_model(spec).eval()
    artifact.save(folder, config, network.state_dict())
    openvino_model.write(folder, config, network)  # as a job leaves it, for CPUs


def requests_per_second(server: Server, connections: int, models: int, seconds: float, image: bytes) -> float:
    turn = itertools.count()
    done = [0] * connections
    begin = threading.Barrier(connections)

    def ask(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
        begin.wait()
        limit = time.perf_counter() + seconds
        while time.perf_counter() < limit:
            path = f"/models/model{next(turn) % models}/invoke"
            connection.request("POST", path, image, {"Content-Type": "image/jpeg"})
            response = connection.getresponse()
            body = response.read()
            if response.status != 200:
                raise RuntimeError(f"port {server.port}: {response.status} {body.decode()}")
            done[number] += 1

    started = time.perf_counter()
    with ThreadPoolExecutor(connections) as pool:
        list(pool.map(ask, range(connections)))
    return sum(done) / (time.perf_counter() - started)


def measure(servers: dict[str, Server], root: Path, turns: int, seconds: float) -> dict[str, dict[str, float]]:
    image = encode(PET, 0)[0]
    figures: dict[str, dict[str, float]] = {name: {} for name in servers}
    for name, server in servers.items():
        found, empty = figures[name], server.megabytes()
        times = []
        for index in range(MODELS):
            times.append(server.load(f"model{index}", root / f"models/{index}/model"))
            if index == 0:
                found["MB, the first model"] = server.megabytes() - empty
        found["s to load the first"] = times[0]
        found["s to load the tenth"] = times[-1]
        found["MB, each further model"] = (server.megabytes() - empty - found["MB, the first model"]) / (MODELS - 1)
        found["MB, none loaded yet"] = empty
    speeds: dict[tuple[str, str], list[float]] = {}
    for _ in range(turns):
        for load, (connections, models) in LOADS.items():
            for name, server in servers.items():
                speed = requests_per_second(server, connections, models, seconds, image)
                speeds.setdefault((name, load), []).append(speed)
    for (name, load), values in speeds.items():
        figures[name][f"requests/s, {load}"] = statistics.median(values)
    for name, server in servers.items():
        figures[name]["MB, ten models, after the requests"] = server.megabytes()
        for index in range(MODELS):
            server.call("DELETE", f"/models/model{index}")
        figures[name]["MB, all unloaded"] = server.megabytes()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="multi-model-"))
    servers: dict[str, Server] = {}
    try:
        make_model(root / "models/0/model")
        for index in range(1, MODELS):
            shutil.copytree(root / "models/0/model", root / f"models/{index}/model")
        for name in PORTS:
            servers[name] = Server(name, root)
            servers[name].wait()
        figures = measure(servers, root, options.turns, options.seconds)
    finally:
        for server in servers.values():
            server.end()
        shutil.rmtree(root, ignore_errors=True)
    rounded = {name: {what: round(value, 2) for what, value in found.items()} for name, found in figures.items()}
    ratios = {what: round(value / figures["mms"][what], 2) for what, value in figures["own"].items()}
    for what, value in rounded["own"].items():
        print(f"{what:36} own {value:8.2f}  mms {rounded['mms'][what]:8.2f}  own / mms {ratios[what]:6.2f}")
    write(options.output, {"model": "ResNet-18 at 224", "figures": rounded, "own / mms": ratios})


if __name__ == "__main__":
    main()
