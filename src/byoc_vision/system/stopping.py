"""SIGTERM before a command handles it itself: as process 1 the kernel would ignore it while Python imports."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_CODE = 128 + signal.SIGTERM  # as shells report a process that it ended


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Within the context SIGTERM ends the process at once, until something else handles it."""
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end(signum: int, frame: FrameType | None) -> None:
    os._exit(EXIT_CODE)
