"""Runs `wrk`, which keeps a number of connections to a server busy."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).with_name("wrk_post.lua")
TIMEOUT = 60  # seconds


class LoadError(Exception):
    """A run without a valid result; the text says why."""


@dataclass(frozen=True)
class Load:
    """The result of a load. p50, p99: milliseconds; generator: the cores that wrk itself used."""

    requests: int
    seconds: float
    p50: float
    p99: float
    generator: float

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


def check_installed() -> None:
    if shutil.which("wrk") is None:
        sys.exit("wrk makes the load, and it is not on the PATH; install it: apt-get install wrk")


def load(url: str, images: Sequence[Path], connections: int, seconds: float) -> Load:
    """Keep `connections` busy with the images in turn; whole seconds. Raises LoadError."""
    command = ["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{max(1, round(seconds))}s"]
    command += ["--timeout", f"{TIMEOUT}s", "--script", str(SCRIPT), url, "--", *map(str, images)]
    started = time.perf_counter()
    before = os.times()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    after = os.times()
    if done.returncode:
        raise LoadError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr or done.stdout}")
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return parse(done.stdout, used / (time.perf_counter() - started))


def parse(output: str, generator: float = 0.0) -> Load:
    """The last line of the script's output. Raises LoadError if there were errors, or no responses."""
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if not lines:
        raise LoadError(f"wrk printed no figures:\n{output}")
    seen = json.loads(lines[-1])
    errors = {name: count for name, count in seen["errors"].items() if count}
    if errors:
        raise LoadError(f"{seen['requests']} requests got responses, and there were errors: {errors}")
    if not seen["requests"]:
        raise LoadError("0 requests were answered in this time; give it more of it")
    return Load(
        requests=seen["requests"],
        seconds=seen["microseconds"] / 1e6,
        p50=seen["p50"] / 1000,
        p99=seen["p99"] / 1000,
        generator=generator,
    )
