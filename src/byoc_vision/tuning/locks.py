"""Locks between processes and threads, held through files."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Lock:
    """A lock that is held, until `release` or the end of the process, even by SIGKILL."""

    def __init__(self, file: int) -> None:
        self._file = file

    @classmethod
    def when_free(cls, path: Path) -> Lock:
        """Wait until the lock is free."""
        file = _open(path)
        fcntl.flock(file, fcntl.LOCK_EX)
        return cls(file)

    @classmethod
    def if_free(cls, path: Path) -> Lock | None:
        """None if the lock is held already."""
        file = _open(path)
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
    """Hold the lock of this file inside the context."""
    lock = Lock.when_free(path)
    try:
        yield
    finally:
        lock.release()


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
