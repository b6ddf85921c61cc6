"""Measures the seconds from the start of `serve` until /ping returns 200, and until the first prediction.

    .venv/bin/python benchmarks/serving_startup.py [--image byoc-vision:latest] [--output benchmarks/results/NAME.json]

`--image` measures a container of that image, started by `docker run … serve` with as many cores, instead of
`byoc-vision serve` on this machine.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from common import exit_on_terminate, write
from serving import names_of
from serving_models import MODELS, Served, make
from serving_servers import CORES, ServerError, start_image, start_ours

PAUSE = 0.02  # seconds


def turn(served: Served, folder: Path, image: str | None, client: str) -> dict[str, float]:
    body_sent = served.images[0].read_bytes()
    started = time.perf_counter()
    with start_image(client, image, served, folder) if image else start_ours(served, folder) as server:
        server.wait(lambda: server.status("/ping") == 200, PAUSE)
        ready = time.perf_counter() - started
        status, body = server.post(body_sent)
        if status != 200:
            sys.exit(f"the first image was answered with {status}: {body[:500]!r}")
        return {"ready": ready, "first_answer": time.perf_counter() - started}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=names_of(MODELS), default=["resnet18"], help=", ".join(MODELS))
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--image")
    parser.add_argument("--docker", default=os.environ.get("DOCKER", "docker"), help="the client")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    exit_on_terminate()
    results = {}
    for name in options.models:
        folder = Path(tempfile.mkdtemp(prefix="serving-startup-"))
        try:
            served = make(name, folder)
            turns = [turn(served, folder / "ours", options.image, options.docker) for _ in range(options.turns)]
        except ServerError as error:
            sys.exit(str(error))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        results[name] = {
            "first": {what: round(value, 2) for what, value in turns[0].items()},
            "median": {what: round(statistics.median(one[what] for one in turns), 2) for what in turns[0]},
        }
        seconds = results[name]["median"]
        print(
            f"{name} on {CORES} cores: /ping 200 after {seconds['ready']} s, first answer {seconds['first_answer']} s"
        )
        write(options.output, {"image": options.image, "turns": options.turns, "seconds": results})


if __name__ == "__main__":
    main()
