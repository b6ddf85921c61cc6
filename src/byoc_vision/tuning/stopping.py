"""Ctrl-C, SIGTERM and a closed terminal end the search; finished trials are kept."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from byoc_vision.tuning.trial_job import TrialJob

logger = logging.getLogger(__name__)

GRACE_SECONDS = 5.0  # for jobs to end; `docker stop` allows ten in all
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """Whether the search was asked to stop, and the jobs to forward that to."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.no_more_trials = False  # running trials go on
        self._jobs: set[TrialJob] = set()

    @property
    def exit_code(self) -> int:
        """As shells report a process that the signal ended."""
        assert self.signal is not None, "the search was asked to stop"
        return 128 + self.signal

    @contextmanager
    def listening(self) -> Iterator[Stop]:
        """Handle the signals inside the context; signals that the process was started to ignore stay ignored."""
        caught = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        previous = {number: signal.signal(number, self._on_signal) for number in caught}
        try:
            yield self
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    @contextmanager
    def forwarding_to(self, job: TrialJob) -> Iterator[None]:
        """Inside the context a request to stop also stops this job. An error ends the job."""
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
