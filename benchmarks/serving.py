"""Compares the requests per second and latencies of our server and of others, with the same weights and JPEG images.

    .venv/bin/python benchmarks/serving.py [--peers flask,litserve] [--output benchmarks/results/serving.json]

The peers in `serving_peers/` follow the examples in their documentation, each with one worker per core. All servers run
at once and are measured in turns. Before that, each is warmed up, and its predictions must equal ours; a server that
returns an error is left out. Peers are installed on first use, below ~/.cache/byoc-vision-benchmarks.
Our server runs twice: `ours` takes the fastest precision, with an INT8 form as a job certifies it, `ours_float32`
computes in float32 as the peers do. For resnet18_script our server runs the peers' own functions as a script: `ours` in
PyTorch as they do, `ours_openvino` with ENGINE=openvino.

rate   requests per second with a number of connections of `wrk`, each of which sends the next request after a response
cpu    milliseconds of CPU time of the server per request, over all cores
p99    milliseconds; under an equal load of random arrivals, at half the best peer's highest rate
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import wrk
from common import exit_on_terminate, write
from serving_models import MODELS, Served, make
from serving_race import Race
from serving_servers import (
    OURS,
    OWN_OF_A_MODEL,
    OWN_OF_A_SCRIPT,
    PEERS,
    Server,
    ServerError,
    start,
)

COLUMNS = ("rate", "p50", "p99", "cpu")


def measure(name: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    served = make(name, folder)
    with ExitStack() as stack:
        own = OWN_OF_A_SCRIPT if served.differing is None else OWN_OF_A_MODEL
        servers, failures = start_all(stack, served, [*own, *options.peers], folder)
        race = Race(served, servers, options.turns, options.seconds, failures)
        race.warm_up(options.warm_up)
        race.run(options.connections)
        return {"int8_differing": served.differing} | race.result()


def start_all(
    stack: ExitStack, served: Served, names: Sequence[str], folder: Path
) -> tuple[dict[str, Server], dict[str, str]]:
    """The servers that started, and the errors of the others."""
    servers, failures = {}, {}
    for name in names:
        try:
            servers[name] = stack.enter_context(start(name, served, folder / name))
        except ServerError as error:
            failures[name] = str(error)
            print(f"{name} is left out: {error}", file=sys.stderr, flush=True)
    if OURS in failures:
        sys.exit("our own server did not start")
    return servers, failures


def show(name: str, result: dict[str, Any]) -> None:
    numbers = list(next(iter(result["servers"].values()))["connections"])
    heads = [f"{column}@{number}" for number in numbers for column in COLUMNS]
    print(f"\n{name:20}" + "".join(f"{head:>9}" for head in [*heads, "equal p99"]))
    for server, seen in result["servers"].items():
        cells = [seen["connections"][number][column] for number in numbers for column in COLUMNS]
        print(f"{server:20}" + "".join(f"{cell:>9}" for cell in [*cells, seen["equal_load"]["p99"]]), seen["precision"])
    print(f"equal load: {result['equal_load_rate']} requests/s; wrk took {result['generator_share']:.1%} of the cores")
    for own, ratios in result["ratios"].items():
        for what, seen in ratios.items():
            print(f"{what}: {own} / best peer {seen['ours / best peer']} ({seen['peer']})")
    print("".join(f"no result: {server}\n" for server in result["failures"]), end="", flush=True)


def names_of(known: Iterable[str]) -> Callable[[str], list[str]]:
    """A parser of lists such as `one,two`."""

    def read(text: str) -> list[str]:
        names = [name for name in text.split(",") if name]
        if unknown := set(names) - set(known):
            raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: known are {', '.join(known)}")
        return names

    return read


def numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--models", type=names_of(MODELS), default=["resnet18", "resnet18_script", "unet"], help=", ".join(MODELS)
    )
    parser.add_argument("--peers", type=names_of(PEERS), default=list(PEERS), help="empty: only ours")
    parser.add_argument("--connections", type=numbers, default=[1, 8, 32])
    parser.add_argument("--seconds", type=float, default=5, help="of a turn")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--warm-up", type=float, default=3, help="seconds")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    wrk.check_installed()
    exit_on_terminate()
    results = {}
    for name in options.models:
        folder = Path(tempfile.mkdtemp(prefix="serving-"))
        try:
            results[name] = measure(name, options, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        show(name, results[name])
        write(options.output, {"seconds": options.seconds, "turns": options.turns, "models": results})


if __name__ == "__main__":
    main()
