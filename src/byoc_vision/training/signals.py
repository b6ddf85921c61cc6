"""SIGTERM, as SageMaker sends it for a stopped job or a reclaimed spot instance, 120 s before SIGKILL; and Ctrl-C."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

logger = logging.getLogger(__name__)

STOPPED_EXIT_CODE = 128 + signal.SIGTERM  # 143, as shells report a process that SIGTERM ended
GRACE_SECONDS = 100.0  # SageMaker's 120, less what it takes to end


class StopRequestedError(Exception):
    """The job was asked to stop. Raised in all processes together."""


class Interruption:
    """Whether the job was asked to stop.

    Until training begins a request raises StopRequestedError at once, since there is nothing to save; after that the
    loop looks at `requested` after each step. A second request ends the process at once, and so does the end of the
    grace.
    """

    def __init__(self, grace_s: float = GRACE_SECONDS) -> None:
        self.requested = False
        self.training = False
        self._grace_s = grace_s
        self._grace: threading.Timer | None = None

    @contextmanager
    def listening(self) -> Iterator[Interruption]:
        """Catch SIGTERM and SIGINT for as long as the context lasts. As PID 1 SIGTERM would otherwise be ignored.

        Where the process was started to ignore SIGINT, as shells start what runs in the background, it does.
        """
        caught = [signal.SIGTERM]
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            caught.append(signal.SIGINT)
        previous = {number: signal.signal(number, self._on_signal) for number in caught}
        try:
            yield self
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            if self._grace:
                self._grace.cancel()

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if self.requested:
            leave_at_once("A second request to stop")
        self.requested = True
        if not self.training:
            raise StopRequestedError
        self._grace = threading.Timer(
            self._grace_s, leave_at_once, [f"{self._grace_s:.0f} s after the request to stop"]
        )
        self._grace.daemon = True
        self._grace.start()


def leave_at_once(why: str) -> None:
    """End the process now. What is on the disk is whole, since files are renamed into place."""
    os.write(1, f"{why}: the process ends at once; the last checkpoint written is intact\n".encode())
    os._exit(STOPPED_EXIT_CODE)
