"""What a request costs a server: memory, time, and how long `/ping` waits meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

import requests
from support.servers import Server

PATIENCE = 120.0  # seconds for an answer; far more than any takes that is bounded
BETWEEN_PINGS = 0.02
SETTLING = 0.3  # seconds after an answer, before the memory that stays is read

_RESET_PEAK = "5"  # proc(5), clear_refs


@dataclass(frozen=True)
class Strain:
    """status: None if the connection ended without an answer. peak, kept: bytes beyond those before the request, at
    the most and after it. seconds: until the answer. longest_ping: seconds.
    """

    status: int | None
    body: bytes
    seconds: float
    peak: int
    kept: int
    longest_ping: float

    def __str__(self) -> str:
        return (
            f"{self.status} {self.seconds:6.2f} s, peak {self.peak / 1e6:+8.1f} MB, kept {self.kept / 1e6:+7.1f} MB, "
            f"longest ping {1000 * self.longest_ping:6.0f} ms, answer {len(self.body):,} bytes"
        )


def strain(server: Server, ask: Callable[[Server], requests.Response]) -> Strain:
    """Send a request, and watch the worker that answers it."""
    process = Path(f"/proc/{worker_of(server)}")
    before = _memory(process, "VmRSS")
    (process / "clear_refs").write_text(_RESET_PEAK)
    with _Pings(server) as pings:
        started = time.monotonic()
        try:
            response = ask(server)
            status, body = response.status_code, response.content
        except requests.RequestException:
            status, body = None, b""
        seconds = time.monotonic() - started
        time.sleep(SETTLING)
    gone = not process.exists()
    peak, kept = (0, 0) if gone else (_memory(process, "VmHWM") - before, _memory(process, "VmRSS") - before)
    return Strain(None if gone else status, body, seconds, peak, kept, pings.longest)


def worker_of(server: Server) -> int:
    """The process id of its only worker."""
    master = server.process.pid
    (worker,) = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    return int(worker)


def _memory(process: Path, name: str) -> int:
    """Bytes. Source: proc(5), status."""
    lines = (process / "status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


class _Pings:
    """Asks for `/ping` again and again while the block runs."""

    def __init__(self, server: Server) -> None:
        self.longest = 0.0
        self._url = f"{server.url}/ping"
        self._stop = Event()
        self._thread = Thread(target=self._run)

    def __enter__(self) -> _Pings:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with requests.Session() as session:
            while not self._stop.wait(BETWEEN_PINGS):
                started = time.monotonic()
                try:
                    session.get(self._url, timeout=PATIENCE)
                except requests.RequestException:
                    session.close()
                self.longest = max(self.longest, time.monotonic() - started)
