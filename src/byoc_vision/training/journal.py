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

from byoc_vision.report.record import Epoch, Evaluation, Finding, Record, State, Times, write_record
from byoc_vision.training.fit import Figures, History

RENDERING_SHARE = 0.02  # of a job's time, that its page may take

log = logging.getLogger(__name__)


def _none() -> None:
    return None


def _nothing() -> list[Finding]:
    return []


@dataclass
class Journal:
    """
    first: the record of a job that has not begun.
    gpus: that the job's processes compute on. started: in seconds of `time.monotonic`.
    findings, times: what the health rules and the clocks say by now.
    """

    folder: Path
    first: Record
    history: History
    started: float
    gpus: int = 0
    page: bool = True
    findings: Callable[[], list[Finding]] = _nothing
    times: Callable[[], Times | None] = _none
    test: Figures | None = None
    evaluations: dict[str, Evaluation] = field(default_factory=dict)
    augmented: list[str] = field(default_factory=list)
    _ended: bool = False
    _rendered: float = 0.0  # when the page was written last
    _rendering: float = 0.0  # seconds that took

    def epoch_is_over(self) -> None:
        """Tell of the epochs so far; the page is made anew where enough time has passed since."""
        self._write("running", None)
        if time.monotonic() - self._rendered >= self._rendering / RENDERING_SHARE:
            self._render()

    def end(self, state: State, reason: str | None = None) -> None:
        """Tell how the job ended. What comes after the first call is told by nobody."""
        if self._ended:
            return
        self._ended = True
        self._write(state, reason)
        self._render()

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
                "evaluations": list(self.evaluations.values()),
                "times": self.times(),
                "augmented": self.augmented,
            }
        )

    def _write(self, state: State, reason: str | None) -> None:
        self._unless_impossible(lambda: write_record(self.folder, self.record(state, reason)))

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
        except OSError as error:
            log.warning("What happened so far could not be written: %s", error)
