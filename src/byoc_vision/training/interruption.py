"""SIGTERM, as SageMaker sends it for a stopped job or a reclaimed spot instance, 120 s before SIGKILL."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interruption:
    """Whether the job was asked to stop. The training loop looks at it after each step."""

    def __init__(self) -> None:
        self.requested = False

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        self.requested = True

    @contextmanager
    def listening(self) -> Iterator[Interruption]:
        """Catch SIGTERM for as long as the context lasts. As PID 1 it would otherwise be ignored."""
        previous = signal.signal(signal.SIGTERM, self._on_signal)
        try:
            yield self
        finally:
            signal.signal(signal.SIGTERM, previous)
