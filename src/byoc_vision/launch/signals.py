"""SIGTERM, as SageMaker sends it for a stopped job or a reclaimed spot instance, 120 s before SIGKILL; and Ctrl-C."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

logger = logging.getLogger(__name__)

STOPPED_EXIT_CODE = 128 + signal.SIGTERM  # 143, as shells report a process that SIGTERM ended
GRACE_SECONDS = 100.0  # SageMaker's 120, less what it takes to end

Handler = Callable[[int, FrameType | None], None]


class StopRequestedError(Exception):
    """The job was asked to stop. Raised in all processes together."""


@contextmanager
def handled(handler: Handler, numbers: Iterable[signal.Signals] = (signal.SIGTERM, signal.SIGINT)) -> Iterator[None]:
    """Handle these signals while the context lasts, except those that the process was started to ignore.

    Shells start what runs in the background to ignore SIGINT.
    """
    caught = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, handler) for number in caught}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


class StopSignals:
    """Whether the job was asked to stop.

    Until training begins a request raises StopRequestedError at once, since there is nothing to save; after that the
    training loop reads `requested` after each step. A second request ends the process at once, and so does the end of
    the grace period.
    """

    def __init__(self, grace_s: float = GRACE_SECONDS) -> None:
        self.requested = False
        self.training = False
        self._grace_s = grace_s
        self._grace: threading.Timer | None = None

    @contextmanager
    def listening(self) -> Iterator[StopSignals]:
        """Handle SIGTERM and SIGINT while the context lasts. As PID 1 SIGTERM would otherwise be ignored."""
        try:
            with handled(self._on_signal):
                yield self
        finally:
            if self._grace:
                self._grace.cancel()

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if self.requested:
            exit_at_once("A second request to stop")
        self.requested = True
        if not self.training:
            raise StopRequestedError
        reason = f"{self._grace_s:.0f} s after the request to stop"
        self._grace = threading.Timer(self._grace_s, exit_at_once, [reason])
        self._grace.daemon = True
        self._grace.start()


def exit_at_once(why: str) -> None:
    """End the process now. What is on the disk is whole, since files are renamed into place."""
    os.write(1, f"{why}: the process ends at once; the last checkpoint written is intact\n".encode())
    os._exit(STOPPED_EXIT_CODE)
