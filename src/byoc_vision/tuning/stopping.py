"""Ctrl-C, SIGTERM and a closed terminal: the search ends, and what is done is kept."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from byoc_vision.tuning.trial_job import TrialJob

logger = logging.getLogger(__name__)

GRACE_SECONDS = 5.0  # for jobs to end; `docker stop` leaves ten in all
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """Whether the search was asked to stop, and the jobs that are to be told."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.enough = False  # no further trial is to begin; those that run go on
        self._jobs: set[TrialJob] = set()

    @property
    def exit_code(self) -> int:
        """As shells report a process that the signal ended."""
        assert self.signal is not None, "it was asked to"
        return 128 + self.signal

    @contextmanager
    def listening(self) -> Iterator[Stop]:
        """Catch the signals for as long as the context lasts; those that the process was started to ignore stay so."""
        caught = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        previous = {number: signal.signal(number, self._on_signal) for number in caught}
        try:
            yield self
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    @contextmanager
    def telling(self, job: TrialJob) -> Iterator[None]:
        """A request to stop is told to this job, too. An error ends it."""
        self._jobs.add(job)
        if self.signal:
            job.stop(GRACE_SECONDS)
        try:
            yield
        except BaseException:
            job.kill()
            raise
        finally:
            self._jobs.discard(job)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        again, self.signal = self.signal is not None, signal.Signals(number)
        for job in list(self._jobs):
            if again:
                job.kill()
            else:
                job.stop(GRACE_SECONDS)
