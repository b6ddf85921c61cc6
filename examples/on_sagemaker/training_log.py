"""The log of a training job, from CloudWatch, as a table of its epochs while it runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import boto3

from byoc_vision.describe.metrics import MetricDefinition, metrics_in

LOG_GROUP = "/aws/sagemaker/TrainingJobs"
_TAIL = 15  # lines of the log that are repeated after a failure
_SHORT = {"epoch_seconds": "seconds", "images_per_second": "images/s", "learning_rate": "rate"}
_LAST = ("learning_rate", "epoch_seconds", "images_per_second")
_MOST_METRICS = 4


class Line(NamedTuple):
    """host: `algo-1`, `algo-2`, …"""

    host: str
    text: str


class TrainingLog:
    """The lines of a training job's log, of every host."""

    def __init__(self, session: boto3.Session, job: str) -> None:
        self._logs = session.client("logs")
        self._job = job
        self._tokens: dict[str, str] = {}

    def new_lines(self) -> Iterator[Line]:
        """The lines that came since the last call."""
        try:
            found = self._logs.describe_log_streams(logGroupName=LOG_GROUP, logStreamNamePrefix=f"{self._job}/")
        except self._logs.exceptions.ResourceNotFoundException:
            return  # the first job of an account, before its first line
        for stream in found["logStreams"]:
            yield from self._lines_of(stream["logStreamName"])

    def _lines_of(self, stream: str) -> Iterator[Line]:
        """A token that does not change says that there is no more for now."""
        host = "-".join(stream.rpartition("/")[2].split("-")[:2])
        while True:
            token = self._tokens.get(stream)
            after = {"nextToken": token} if token else {"startFromHead": True}
            page = self._logs.get_log_events(logGroupName=LOG_GROUP, logStreamName=stream, **after)
            yield from (Line(host, event["message"]) for event in page["events"])
            self._tokens[stream] = page["nextForwardToken"]
            if page["nextForwardToken"] == token:
                return


class LiveTable:
    """A row for each epoch; the other lines in full, or in a terminal only the newest, in its last line.

    metrics: as SageMaker reads them from the log. first: names of metrics that stand first, the objective for example.
    epochs: of the job, for the time that is left. file: receives the whole log. every_line: show all of it.
    """

    def __init__(
        self,
        metrics: Sequence[MetricDefinition],
        *,
        epochs: int,
        first: Sequence[str] = (),
        file: Path | None = None,
        every_line: bool = False,
        output: TextIO | None = None,
    ) -> None:
        self._metrics, self._first, self._epochs = metrics, first, epochs
        self._file = file
        self._output = output or sys.stdout
        self._live = self._output.isatty() and not every_line
        self._columns: list[str] = []
        self._needs_header = True
        self._seconds: list[float] = []
        self._tail: list[str] = []

    def add(self, lines: Iterator[Line]) -> None:
        for line in lines:
            self._keep(line)
            figures = metrics_in(line.text, self._metrics)
            if "epoch" not in figures:
                self._tell(line.text)
            elif line.host == "algo-1":  # each host logs the epochs of the whole job
                self._row(figures)

    def status(self, text: str) -> None:
        """In a terminal: the last line, which the next call replaces."""
        if self._live:
            print(f"\r\x1b[K{text[:100]}", end="", file=self._output, flush=True)

    def print_tail(self) -> None:
        """The last lines that the terminal did not keep."""
        if self._live:
            for line in self._tail[-_TAIL:]:
                self._print(line)

    def _keep(self, line: Line) -> None:
        if self._file:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(f"{line.host} {line.text}\n")

    def _tell(self, text: str) -> None:
        self._tail = [*self._tail[-_TAIL:], text]
        if self._live and self._columns:
            self.status(text)
        else:
            self._print(text)
            self._needs_header = True

    def _row(self, figures: dict[str, float]) -> None:
        if not self._columns:
            self._columns = list(_columns(figures, self._first))
        self._seconds.append(figures.get("epoch_seconds", 0.0))
        cells = [_cell(name, figures.get(name)) for name in self._columns] + [self._left(int(figures["epoch"]))]
        titles = [*(_SHORT.get(name, name) for name in self._columns), "left"]
        widths = [max(len(title), 9) for title in titles]
        if self._needs_header:
            self._print("  ".join(f"{title:>{width}}" for title, width in zip(titles, widths, strict=True)))
            self._needs_header = False
        self._print("  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)))

    def _left(self, epoch: int) -> str:
        """Of training, by the mean of the last epochs."""
        newest = self._seconds[-5:]
        seconds = max(0, self._epochs - epoch) * sum(newest) / len(newest)
        return time.strftime("%H:%M:%S", time.gmtime(seconds))

    def _print(self, text: str) -> None:
        self.status("")
        print(text, file=self._output, flush=True)


def _columns(figures: dict[str, float], first: Sequence[str]) -> Iterator[str]:
    """The epoch, the losses, the metrics that were asked for, the others as far as there is room, and the speed."""
    yield "epoch"
    usual = [name for name in figures if name.startswith("validation:")]
    named = dict.fromkeys([name for name in first if name in figures] + usual)
    named.pop("validation:loss", None)
    yield from (name for name in ("train:loss", "validation:loss") if name in figures)
    yield from list(named)[: max(_MOST_METRICS, len(first))]
    yield from (name for name in _LAST if name in figures)


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "–"
    if name == "epoch":
        return f"{value:.0f}"
    return f"{value:.1f}" if name in ("epoch_seconds", "images_per_second") else f"{value:.4g}"
