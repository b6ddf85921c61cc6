"""Locks between processes and threads: files of which one holder at a time has the lock."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Lock:
    """A lock that is held. It is released by `release`, and by the end of the process, however it ends."""

    def __init__(self, file: int) -> None:
        self._file = file

    @classmethod
    def when_free(cls, path: Path) -> Lock:
        """Waits until nobody else holds it."""
        file = _opened(path)
        fcntl.flock(file, fcntl.LOCK_EX)
        return cls(file)

    @classmethod
    def if_free(cls, path: Path) -> Lock | None:
        """None where somebody else holds it."""
        file = _opened(path)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return None
        return cls(file)

    def release(self) -> None:
        os.close(self._file)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process and thread at a time is in such a block of the same file."""
    lock = Lock.when_free(path)
    try:
        yield
    finally:
        lock.release()


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
