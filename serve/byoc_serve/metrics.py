"""The server's metrics, in memory that all workers share, and their text for Prometheus.

prometheus_client formats them; counting is done here. Its own support for several processes needs a file per process on
a disk, found through an environment variable while it is imported.
"""

from __future__ import annotations

import mmap
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# The paths that are counted by name, as the app's routing has them. All others are counted together, or clients could
# make the number of counters grow without end.
ROUTES = (
    "/ping",
    "/invocations",
    "/execution-parameters",
    "/metrics",
    "/openapi.json",
    "/",
    "/page/<name>",
    "/models",
    "/models/<name:name>",
    "/models/<name:name>/invoke",
)
OTHER = "other"

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
BATCH_SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)

_LABELS = (*ROUTES, OTHER)
_NUMBERS = {route: number for number, route in enumerate(ROUTES)}
_FIRST_STATUS, _STATUSES = 100, 500
_CELL = 8  # bytes: a float of C, which is written and read as a whole


class _Histogram:
    """A histogram's place in a worker's cells: a count for each bound, one above them, and the sum."""

    def __init__(self, start: int, bounds: Sequence[float]) -> None:
        self._start = start
        self._bounds = bounds
        self._sum = start + len(bounds) + 1
        self.end = self._sum + 1

    def add(self, cells: memoryview[float], value: float) -> None:
        cells[self._start + bisect_left(self._bounds, value)] += 1
        cells[self._sum] += value

    def read(self, workers: Sequence[memoryview[float]]) -> tuple[list[tuple[str, float]], float]:
        """All workers' values at or below each bound, and their sum."""
        buckets, count = [], 0.0
        for offset, bound in enumerate((*self._bounds, float("inf"))):
            count += sum(cells[self._start + offset] for cells in workers)
            buckets.append(("+Inf" if bound == float("inf") else str(bound), count))
        return buckets, sum(cells[self._sum] for cells in workers)


# A worker's cells: requests by route and status, seconds by route, batch sizes, items that wait.
_DURATIONS = tuple(
    _Histogram(len(_LABELS) * _STATUSES + number * (len(SECONDS) + 2), SECONDS) for number in range(len(_LABELS))
)
_BATCHES = _Histogram(_DURATIONS[-1].end, BATCH_SIZES)
_WAITING = _BATCHES.end
_CELLS = _WAITING + 1


class Metrics:
    """The metrics of all workers; created before they are forked."""

    def __init__(self, workers: int = 1) -> None:
        memory = memoryview(mmap.mmap(-1, workers * _CELLS * _CELL)).cast("d")
        self._workers = [memory[worker * _CELLS : (worker + 1) * _CELLS] for worker in range(workers)]

    def worker(self, number: int = 0) -> WorkerMetrics:
        """The metrics of one worker. It continues the counts of the worker that it replaces: counts never fall."""
        return WorkerMetrics(self, self._workers[number])

    def exposition(self, ready: bool) -> bytes:
        """The metrics in Prometheus's text format, whose media type is CONTENT_TYPE."""
        from prometheus_client.exposition import generate_latest  # not when the server starts: few use it

        families = self._families(ready)

        class Families:
            def collect(self) -> Iterator[Metric]:
                return families

        return generate_latest(Families())

    def _families(self, ready: bool) -> Iterator[Metric]:
        from prometheus_client.metrics_core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
        )

        requests = CounterMetricFamily("byoc_requests", "Requests with a response.", labels=["route", "status"])
        for number, route in enumerate(_LABELS):
            for status in range(_FIRST_STATUS, _FIRST_STATUS + _STATUSES):
                if count := self._sum(_request_cell(number, status)):
                    requests.add_metric([route, str(status)], count)
        yield requests
        seconds = HistogramMetricFamily(
            "byoc_request_seconds", "From a request's arrival to its response.", labels=["route"]
        )
        for route, histogram in zip(_LABELS, _DURATIONS, strict=True):
            buckets, total = histogram.read(self._workers)
            if buckets[-1][1]:
                seconds.add_metric([route], buckets, total)
        yield seconds
        buckets, total = _BATCHES.read(self._workers)
        yield HistogramMetricFamily("byoc_batch_size", "Images that went through the model together.", buckets, total)
        yield GaugeMetricFamily("byoc_queue_depth", "Images that wait for the model.", self._sum(_WAITING))
        yield GaugeMetricFamily("byoc_model_ready", "1 if every worker's model is ready, 0 otherwise.", int(ready))

    def _sum(self, cell: int) -> float:
        return sum(cells[cell] for cells in self._workers)


class WorkerMetrics:
    """Counts for one process, from all of its threads; also a Batcher's observer."""

    def __init__(self, all_workers: Metrics, cells: memoryview[float]) -> None:
        self.all_workers = all_workers
        self._cells = cells
        self._lock = Lock()
        cells[_WAITING] = 0

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a request. route: as in ROUTES; any other counts as OTHER."""
        number = _NUMBERS.get(route, len(ROUTES))
        with self._lock:
            self._cells[_request_cell(number, status)] += 1
            _DURATIONS[number].add(self._cells, seconds)

    def items_wait(self, items: int) -> None:
        self._cells[_WAITING] = items

    def batch_starts(self, items: int) -> None:
        with self._lock:
            _BATCHES.add(self._cells, items)


def _request_cell(route: int, status: int) -> int:
    return route * _STATUSES + status - _FIRST_STATUS
