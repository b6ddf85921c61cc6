"""What a job tells of itself while it runs: metrics.json after each epoch, and the page made of it.

The first process keeps it. What cannot be written costs a warning: the job goes on, and its model counts.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from byoc_vision.errors import UserError
from byoc_vision.report.record import Epoch, Finding, Record, State, Times, write_record
from byoc_vision.training.answers.collector import Collected
from byoc_vision.training.answers.writing import write_answers
from byoc_vision.training.history import Figures, History
from byoc_vision.training.tracking.tracker import Trackers

RENDERING_SHARE = 0.02  # of a job's time, that its page may take

logger = logging.getLogger(__name__)


def _none() -> None:
    return None


def _nothing() -> list[Any]:
    return []


@dataclass
class Journal:
    """
    first: the record of a job that has not begun.
    gpus: that the job's processes compute on. started: in seconds of `time.monotonic`.
    findings, times: what the health rules and the clocks say by now.
    augment: writes training images as the model saw them, and names their files.
    """

    folder: Path
    first: Record
    history: History
    started: float
    gpus: int = 0
    page: bool = True
    findings: Callable[[], list[Finding]] = _nothing
    times: Callable[[], Times | None] = _none
    augment: Callable[[], list[str]] = _nothing
    trackers: Trackers = field(default_factory=Trackers)
    test: Figures | None = None
    _answers: dict[str, Collected] = field(default_factory=dict)
    _augmented: list[str] | None = None
    _ended: bool = False
    _rendered: float = 0.0  # when the page was written last
    _rendering: float = 0.0  # seconds that took

    def begin(self) -> None:
        """The training is about to begin, or to go on after the epochs of an earlier start."""
        self.trackers.begin(self.record("running"))

    def keep(self, collected: Collected) -> None:
        """What the best model answered the images of a split."""
        self._answers[collected.evaluation.split] = collected
        self._unless_impossible(lambda: write_answers(self.folder, list(self._answers.values())))

    def epoch_is_over(self) -> None:
        """Tell of the epochs so far; the page is made anew where enough time has passed since."""
        if self._augmented is None:
            self._unless_impossible(self._write_augmented)
        self.trackers.epoch(self._write("running", None))
        if time.monotonic() - self._rendered >= self._rendering / RENDERING_SHARE:
            self._render()

    def end(self, state: State, reason: str | None = None) -> None:
        """Tell how the job ended. What comes after the first call is told by nobody."""
        if self._ended:
            return
        self._ended = True
        record = self._write(state, reason)
        self._render()
        self.trackers.end(record, self.folder)

    @contextmanager
    def telling_failures(self) -> Iterator[None]:
        """Whatever ends the block without `end` is told as the job's failure, and goes on."""
        try:
            yield
        finally:
            if (error := sys.exc_info()[1]) is not None:
                self.end("failed", f"{error}" or type(error).__name__)

    def record(self, state: State, reason: str | None = None) -> Record:
        """All that is known by now."""
        best, seconds = self.history.best, time.monotonic() - self.started
        return self.first.model_copy(
            update={
                "state": state,
                "reason": reason,
                "best_epoch": best.epoch if best else None,
                "validation": best.validation if best else {},
                "test": self.test,
                "seconds": round(seconds, 1),
                "gpu_seconds": round(seconds * self.gpus, 1),
                "epochs": [Epoch(**asdict(record)) for record in self.history.records],
                "findings": self.findings(),
                "evaluations": [collected.evaluation for collected in self._answers.values()],
                "times": self.times(),
                "augmented": self._augmented or [],
            }
        )

    def _write(self, state: State, reason: str | None) -> Record:
        record = self.record(state, reason)
        self._unless_impossible(lambda: write_record(self.folder, record))
        return record

    def _write_augmented(self) -> None:
        self._augmented = []
        self._augmented = self.augment()

    def _render(self) -> None:
        if not self.page:
            return
        # Imported once there is something to show: the first step need not wait for it.
        from byoc_vision.report.page import write_report

        began = time.monotonic()
        self._unless_impossible(lambda: write_report(self.folder))
        self._rendered = time.monotonic()
        self._rendering = self._rendered - began

    @staticmethod
    def _unless_impossible(write: Callable[[], Any]) -> None:
        try:
            write()
        except (OSError, UserError) as error:
            logger.warning("What happened so far could not be written: %s", error)
        except Exception:  # hours of training are worth more than a page about them
            logger.exception("What happened so far could not be written. This is a bug of ours, please report it")
