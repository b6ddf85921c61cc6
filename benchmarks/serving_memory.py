"""Measures the server's memory: compared with a bare Python process with the same model, and over many requests.

    .venv/bin/python benchmarks/serving_memory.py [--requests 100000] [--output benchmarks/results/serving_memory.json]

In MB, from Linux (proc_pid_smaps_rollup(5)). rss: resident memory of all the server's processes, shared pages counted
for each; pss: shared pages counted once; peak: the most rss so far. Each precision is measured when the server is
ready; `auto` tries INT8, and bfloat16 if the CPU has it. The bare process imports PyTorch or OpenVINO, loads the model
and computes one batch of the server's maximum size in float32, as the server does beside it. Growth is measured with a
tiny model and small images, so that the server handles many requests.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import wrk
from common import exit_on_terminate, write
from processes import family, megabytes, peak_megabytes
from serving import names_of
from serving_models import MODELS, Served, make
from serving_servers import OURS, Server, start

BARE = Path(__file__).with_name("serving_bare.py")
BATCH_SIZE = 8
PRECISIONS = ("float32", "int8", "auto")
CONNECTIONS = 16
SAMPLES = 10
PIECE = 2.0  # seconds of load, repeated until there are enough requests


def bare(engine: str, served: Served, hint: str) -> float:
    command = [sys.executable, str(BARE), engine, str(served.root), str(BATCH_SIZE), hint]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"no bare process with {engine}:\n{done.stderr[-2000:]}")
    return float(done.stdout)


def memory_of(server: Server) -> dict[str, float]:
    processes = family(server.process.pid)
    return {what.lower(): sum(megabytes(one, what) for one in processes) for what in ("Rss", "Pss")}


def beside_bare(name: str, seconds: float, folder: Path) -> dict[str, Any]:
    """The server's memory when it is ready in each precision, and in float32 after a load."""
    served = make(name, folder)
    ready: dict[str, dict[str, Any]] = {}
    for precision in PRECISIONS:
        environment = {"BATCH_SIZE": str(BATCH_SIZE), "PRECISION": precision}
        with start(OURS, served, folder / precision, environment) as server:
            peak = sum(map(peak_megabytes, family(server.process.pid)))
            ready[precision] = {what: round(value) for what, value in (memory_of(server) | {"peak": peak}).items()}
            ready[precision] |= {"serves": server.precision()}
            if precision == "float32":
                wrk.load(server.url, served.images, 2 * BATCH_SIZE, seconds)
                seen = memory_of(server)
    beside = {engine: bare(engine, served, "f32") for engine in ("torch", "openvino")}
    return {
        "ready": ready,
        "server": {what: round(value) for what, value in seen.items()},
        "bare": {engine: round(value) for engine, value in beside.items()},
        "rss / bare": {engine: round(seen["rss"] / value, 2) for engine, value in beside.items()},
    }


def over_requests(count: int, folder: Path) -> dict[str, Any]:
    """Ten measurements of the server's memory, spread over a number of requests."""
    served = make("tiny", folder)
    seen, responses, seconds = [], 0, 0.0
    with start(OURS, served, folder / OURS) as server:
        for sample in range(1, SAMPLES + 1):
            while responses < count * sample / SAMPLES:
                load = wrk.load(server.url, served.images, CONNECTIONS, PIECE)
                responses, seconds = responses + load.requests, seconds + load.seconds
            memory = {what: round(value, 1) for what, value in memory_of(server).items()}
            seen.append({"requests": responses} | memory)
            print(f"{responses:,} requests: rss {memory['rss']:.0f} MB", flush=True)
    growth = seen[-1]["rss"] / seen[0]["rss"]
    return {"megabytes": seen, "requests_per_second": round(responses / seconds), "last / first": round(growth, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=names_of(MODELS), default=["resnet18", "unet"], help=", ".join(MODELS))
    parser.add_argument("--seconds", type=float, default=5, help="duration of the load before memory is measured")
    parser.add_argument("--requests", type=int, default=100_000, help="0: none")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    wrk.check_installed()
    exit_on_terminate()
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    results: dict[str, Any] = {"models": {}}
    for name in options.models:
        with_folder = Path(tempfile.mkdtemp(prefix="serving-memory-"))
        try:
            results["models"][name] = found = beside_bare(name, options.seconds, with_folder)
        finally:
            shutil.rmtree(with_folder, ignore_errors=True)
        ratios = ", ".join(f"{ratio} × {engine}" for engine, ratio in found["rss / bare"].items())
        print(
            f"{name}: rss {found['server']['rss']} MB, pss {found['server']['pss']} MB; bare: {found['bare']}; {ratios}"
        )
        print("".join(f"    ready with PRECISION={one}: {memory}\n" for one, memory in found["ready"].items()), end="")
        write(options.output, results)
    if options.requests:
        folder = Path(tempfile.mkdtemp(prefix="serving-memory-"))
        try:
            results["over_requests"] = over_requests(options.requests, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        print(f"last / first: {results['over_requests']['last / first']}")
        write(options.output, results)


if __name__ == "__main__":
    main()
