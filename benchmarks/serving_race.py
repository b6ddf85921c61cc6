"""Measures servers of the same model in turns, so that other work on the machine affects all of them equally."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import arrivals
import wrk
from serving_answers import AnswerError, agreement
from serving_models import Served
from serving_servers import CORES, OURS, OWN, Server

EQUAL_SHARE = 0.5  # of the best peer's highest rate
ROUNDS = 3  # of requests per connection for which a turn has time, at the server's rate so far
IDLE_SHARE = 0.6  # of a core, all servers together: idle ones poll with a third of a core, busy ones use a whole one
POLLING_SHARE = 0.1  # of a core, without requests: a server that uses more would disturb the others' turns
POLLING_SECONDS = 3.0
IDLE_LIMIT = 60.0  # seconds
WARM_UP_CONNECTIONS = 8


@dataclass
class Figures:
    """The measurements of a server: by the number of connections, a value for each turn."""

    agreement: float = 0.0
    loads: dict[int, list[wrk.Load]] = field(default_factory=dict)
    cpu: dict[int, list[float]] = field(default_factory=dict)  # milliseconds per request
    equal: list[float] = field(default_factory=list)  # latencies in milliseconds

    def rate(self, connections: int | None = None) -> float:
        """The requests per second with a number of connections, or the highest rate."""
        if connections is None:
            return max(map(self.rate, self.loads), default=0.0)
        return statistics.median(load.rate for load in self.loads[connections])

    @property
    def equal_p99(self) -> float:
        return arrivals.percentile(self.equal, 99)

    def summary(self) -> dict[str, Any]:
        by_connections = {
            str(connections): {
                "rate": round(self.rate(connections), 1),
                "p50": round(statistics.median(load.p50 for load in loads), 1),
                "p99": round(statistics.median(load.p99 for load in loads), 1),
                "cpu": round(statistics.median(self.cpu[connections]), 1),
                "requests": sum(load.requests for load in loads),
            }
            for connections, loads in self.loads.items()
        }
        equal = {f"p{percent}": round(arrivals.percentile(self.equal, percent), 1) for percent in (50, 99)}
        return {"agreement": self.agreement, "connections": by_connections, "equal_load": equal}


@dataclass
class Race:
    """The servers that are still measured, their measurements, and the errors of those that are left out."""

    served: Served
    servers: dict[str, Server]
    turns: int
    seconds: float  # of a turn
    failures: dict[str, str] = field(default_factory=dict)
    equal_rate: float = 0.0

    def __post_init__(self) -> None:
        self.figures = {name: Figures() for name in self.servers}
        self.images = [path.read_bytes() for path in self.served.images]
        self.pollers: dict[str, Server] = {}

    @property
    def peers(self) -> list[str]:
        return [name for name in self.servers if name not in OWN]

    def warm_up(self, seconds: float) -> None:
        """Leaves out servers whose predictions differ from ours."""
        ours = self._answers(self.servers[OURS])

        def prepare(name: str, server: Server) -> None:
            self.figures[name].agreement = round(agreement(self.served.task, self._answers(server), ours), 4)
            wrk.load(server.url, self.served.images, WARM_UP_CONNECTIONS, seconds)

        self._each(prepare)
        self._settle()
        before = {name: server.cpu_seconds() for name, server in self.servers.items()}
        time.sleep(POLLING_SECONDS)
        self.pollers = {
            name: server
            for name, server in self.servers.items()
            if server.cpu_seconds() - before[name] > POLLING_SHARE * POLLING_SECONDS
        }

    def run(self, connections: Sequence[int]) -> None:
        """Measure with each number of wrk's connections, then under equal load."""

        def keep_busy(name: str, server: Server, number: int) -> None:
            before = server.cpu_seconds()
            load = wrk.load(server.url, self.served.images, number, self._seconds(name, number))
            cpu = 1000 * (server.cpu_seconds() - before) / load.requests
            self.figures[name].loads.setdefault(number, []).append(load)
            self.figures[name].cpu.setdefault(number, []).append(cpu)

        def send_at_random(name: str, server: Server, turn: int) -> None:
            self.figures[name].equal += arrivals.arrive(
                server.port, server.path, self.images, self.equal_rate, self.seconds, seed=turn
            )

        for number in connections:
            for _ in range(self.turns):
                self._each(lambda name, server, number=number: keep_busy(name, server, number))
        self.equal_rate = EQUAL_SHARE * max(self.figures[name].rate() for name in self.peers or [OURS])
        for turn in range(self.turns):
            self._each(lambda name, server, turn=turn: send_at_random(name, server, turn))

    def result(self) -> dict[str, Any]:
        return {
            "servers": {
                name: {"precision": server.precision()} | self.figures[name].summary()
                for name, server in self.servers.items()
            },
            "failures": self.failures,
            "equal_load_rate": round(self.equal_rate, 1),
            "polling": sorted(self.pollers),
            "generator_share": round(self._generator_share(), 4),
            "ratios": {name: self._ratios(name) for name in self.servers if self.peers and name in OWN},
        }

    def _ratios(self, name: str) -> dict[str, Any]:
        """A server of ours relative to the best peer: rates by connections, highest rates, 99th percentiles."""
        ours = self.figures[name]
        found = {}
        for number in (*ours.loads, None):
            best = max(self.peers, key=lambda name: self.figures[name].rate(number))
            ratio = ours.rate(number) / self.figures[best].rate(number)
            which = "at best" if number is None else f"{number} connections"
            found[f"rate, {which}"] = {"ours / best peer": round(ratio, 2), "peer": best}
        best = min(self.peers, key=lambda name: self.figures[name].equal_p99)
        ratio = ours.equal_p99 / self.figures[best].equal_p99
        return found | {"p99, equal load": {"ours / best peer": round(ratio, 2), "peer": best}}

    def _seconds(self, name: str, connections: int) -> float:
        """The duration of a turn: longer for servers that need seconds per request."""
        rate = self.figures[name].rate()
        return max(self.seconds, ROUNDS * connections / rate) if rate else self.seconds

    def _settle(self) -> None:
        """Wait for servers that still work on requests of closed connections: they would disturb the next turn."""
        limit, pause = time.monotonic() + IDLE_LIMIT, 0.5
        while time.monotonic() < limit:
            before = sum(server.cpu_seconds() for server in self.servers.values())
            time.sleep(pause)
            if sum(server.cpu_seconds() for server in self.servers.values()) - before < IDLE_SHARE * pause:
                return

    @contextmanager
    def _others_quiet(self, name: str) -> Iterator[None]:
        """Stop the polling servers during another server's turn; the others have watchdogs, and use no CPU time."""
        others = [server for poller, server in self.pollers.items() if poller != name]
        for server in others:
            server.pause()
        try:
            yield
        finally:
            for server in others:
                server.go_on()

    def _generator_share(self) -> float:
        """The largest share of all cores that wrk used in a turn."""
        loads = (load for name in self.servers for seen in self.figures[name].loads.values() for load in seen)
        return max((load.generator for load in loads), default=0.0) / CORES

    def _answers(self, server: Server) -> list[bytes]:
        return [server.post(image)[1] for image in self.images]

    def _each(self, measure: Callable[[str, Server], None]) -> None:
        """Measure one server after the other; leave out those that fail."""
        for name, server in list(self.servers.items()):
            self._settle()
            try:
                with self._others_quiet(name):
                    measure(name, server)
            except (AnswerError, wrk.LoadError, OSError) as error:
                del self.servers[name]
                self.failures[name] = f"{error}; the end of its log:\n{server.tail()}"
                print(f"{name} is left out: {self.failures[name]}", file=sys.stderr, flush=True)
                if name == OURS:
                    sys.exit("our own server failed")
