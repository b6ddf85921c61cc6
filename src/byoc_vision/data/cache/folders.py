"""The folders that caches lie in: made, shared by the processes of a job, and removed."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_IN_USE = "in_use"


class CacheFolder:
    """A job's own folder below `place`, named after what is in it.

    What a killed job left under the same name is found there; under other names it is removed. Each process that uses
    the folder holds a lock in it, which ends with the process; the last one to close it removes it.
    """

    def __init__(self, place: Path, key: str) -> None:
        """Raises OSError where it cannot be made, or belongs to someone else."""
        self.root = place / f"byoc-vision-cache-{os.getuid()}"
        self.path = self.root / key
        self.root.mkdir(mode=0o700, exist_ok=True)
        if self.root.stat().st_uid != os.getuid():
            raise PermissionError(f"{self.root} belongs to another user")
        with _locked(self.root):
            for other in self.root.iterdir():
                if other.is_dir() and other != self.path:
                    _remove_unless_used(other)
            self.path.mkdir(exist_ok=True)
            self._in_use = os.open(self.path / _IN_USE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._in_use, fcntl.LOCK_SH)

    def close(self) -> None:
        """Remove the folder, unless another process goes on using it."""
        with _locked(self.root):
            # Closing alone would not do: loader processes hold the same lock until they end.
            fcntl.flock(self._in_use, fcntl.LOCK_UN)
            os.close(self._in_use)
            _remove_unless_used(self.path)


def _remove_unless_used(folder: Path) -> None:
    try:
        file = os.open(folder / _IN_USE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    else:
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(file)


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """One process at a time makes and removes folders."""
    file = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)
