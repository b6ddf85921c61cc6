"""Compares the server's rate with the machine's limit, at which it only decodes, computes and encodes.

    .venv/bin/python benchmarks/serving_limit.py [--output benchmarks/results/serving_limit.json]

On a CPU: requests a second × CPU time of an image's decoding, forward pass at the best batch size and encoding, over
the time of all cores. On a GPU: requests a second over the images a second of the forward pass alone at its best.
serving_stages.py measures the stages alone, in turns with the server; values are medians. The rest of the server's CPU
time is HTTP, Flask and the way from thread to thread.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import wrk
from common import exit_on_terminate, write
from serving import names_of, numbers
from serving_models import MODELS, Served, make
from serving_servers import CORES, OURS, start

STAGES = Path(__file__).with_name("serving_stages.py")


def stages(served: Served) -> dict[str, Any]:
    command = [sys.executable, str(STAGES), str(served.root), *map(str, served.images)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"the stages could not be measured:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(name: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    served = make(name, folder)
    turns: list[dict[str, Any]] = []
    rates: list[float] = []
    used: list[float] = []  # milliseconds per request
    with start(OURS, served, folder / OURS) as server:
        wrk.load(server.url, served.images, max(options.connections), options.seconds)
        for _ in range(options.turns):
            turns.append(stages(served))
            before = server.cpu_seconds()
            loads = [wrk.load(server.url, served.images, each, options.seconds) for each in options.connections]
            used.append(1000 * (server.cpu_seconds() - before) / sum(load.requests for load in loads))
            rates.append(max(load.rate for load in loads))
    return summary(turns, statistics.median(rates), statistics.median(used))


def summary(turns: Sequence[dict[str, Any]], rate: float, used: float) -> dict[str, Any]:
    """The limit, `rate` as a share of it, and where the time goes. used: CPU milliseconds of a request."""
    forward = {
        size: {what: statistics.median(turn["forward"][size][what] for turn in turns) for what in ("cpu", "rate")}
        for size in turns[0]["forward"]
    }
    best = max(forward, key=lambda size: forward[size]["rate"])
    decode, encode = (statistics.median(turn[stage] for turn in turns) for stage in ("decode", "encode"))
    if turns[0]["device"] == "cpu":
        limit = 1000 * CORES / (decode + forward[best]["cpu"] + encode)
    else:
        limit = forward[best]["rate"]
    return {
        "engine": turns[0]["engine"],
        "cpu_milliseconds": {
            "decode": round(decode, 2),
            "forward": {size: round(seen["cpu"], 2) for size, seen in forward.items()},
            "encode": round(encode, 3),
            "parts": {
                name: round(statistics.median(turn["parts"][name] for turn in turns), 3) for name in turns[0]["parts"]
            },
            "request": round(used, 2),
            "rest": round(used - decode - forward[best]["cpu"] - encode, 2),
        },
        "forward_images_per_second": {size: round(seen["rate"], 1) for size, seen in forward.items()},
        "best_batch": int(best),
        "limit": round(limit, 1),
        "rate": round(rate, 1),
        "rate / limit": round(rate / limit, 3),
    }


def show(name: str, result: dict[str, Any]) -> None:
    cpu, best = result["cpu_milliseconds"], result["best_batch"]
    times = (
        f"decode {cpu['decode']} ms, forward {cpu['forward'][str(best)]} ms at batch {best}, encode {cpu['encode']} ms"
    )
    parts = ", ".join(f"{part} {milliseconds}" for part, milliseconds in cpu["parts"].items())
    rates = f"at most {result['limit']} requests/s, served {result['rate']}: {result['rate / limit']}"
    print(f"{name} ({result['engine']}): {times}, rest {cpu['rest']} ms; {rates}\n    {parts}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=names_of(MODELS), default=["resnet18", "unet"], help=", ".join(MODELS))
    parser.add_argument("--connections", type=numbers, default=[16, 32], help="the better one counts")
    parser.add_argument("--seconds", type=float, default=5, help="duration of a turn of the server")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    wrk.check_installed()
    exit_on_terminate()
    results = {}
    for name in options.models:
        folder = Path(tempfile.mkdtemp(prefix="serving-limit-"))
        try:
            results[name] = measure(name, options, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        show(name, results[name])
        write(options.output, {"models": results})


if __name__ == "__main__":
    main()
