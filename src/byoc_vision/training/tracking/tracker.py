"""What follows a job from its record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from byoc_vision.report.record import Record


class Tracker(Protocol):
    """Told how far a job is. It never fails the job: what goes wrong with it is a warning, once."""

    def begin(self, record: Record) -> None:
        """The training is about to begin, or to go on: `record` holds the epochs that an earlier start has made."""
        ...

    def epoch(self, record: Record) -> None:
        """The last of `record.epochs` is new."""
        ...

    def end(self, record: Record, folder: Path) -> None:
        """Nothing is to follow in this start of the job. folder: output/data, where all that belongs to it lies."""
        ...


@dataclass(frozen=True)
class Trackers:
    """Several as one."""

    all: Sequence[Tracker] = ()

    def begin(self, record: Record) -> None:
        for tracker in self.all:
            tracker.begin(record)

    def epoch(self, record: Record) -> None:
        for tracker in self.all:
            tracker.epoch(record)

    def end(self, record: Record, folder: Path) -> None:
        for tracker in self.all:
            tracker.end(record, folder)
