"""Atomic writes: a file is complete or absent, and has the mode that the umask gives."""

from __future__ import annotations

import csv
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def renamed_into_place(path: Path) -> Iterator[Path]:
    """A temporary file beside `path`, on the same disk, that replaces `path` when the context ends without an error."""
    scratch = Path(tempfile.mkdtemp(prefix=".saving-", dir=path.parent))
    try:
        beside = scratch / path.name
        yield beside
        give_usual_mode(beside)
        os.replace(beside, path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def give_usual_mode(path: Path) -> None:
    """Give a file the mode of one that `open` makes beside it.

    safetensors makes its files private (0600): after `docker run … train`, which runs as root, the user cannot read
    them. Asking the umask sets it for all threads; so a file is made, and its mode is taken.
    """
    sample = path.with_name(f".mode-{path.name}")
    try:
        sample.touch()
        mode = stat.S_IMODE(sample.stat().st_mode)
    finally:
        sample.unlink(missing_ok=True)
    if stat.S_IMODE(path.stat().st_mode) != mode:
        path.chmod(mode)


def write_whole(path: Path, text: str) -> None:
    """Write a text as UTF-8: a reader finds the previous text or this one. Raises OSError."""
    with renamed_into_place(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table as a whole, as `write_whole` does. Raises OSError."""
    with renamed_into_place(path) as beside, beside.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(header)
        table.writerows(rows)
