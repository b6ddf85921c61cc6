"""Files that are whole or not there."""

from __future__ import annotations

import csv
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def renamed_into_place(path: Path) -> Iterator[Path]:
    """A file to write beside `path`, on the same disk; it takes the place of `path` once it is whole."""
    scratch = Path(tempfile.mkdtemp(prefix=".saving-", dir=path.parent))
    try:
        beside = scratch / path.name
        yield beside
        os.replace(beside, path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_whole(path: Path, text: str) -> None:
    """Write a text as UTF-8: who reads finds the one before, or this one. Raises OSError."""
    with renamed_into_place(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table as a whole, as `write_whole` does. Raises OSError."""
    with renamed_into_place(path) as beside, beside.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(header)
        table.writerows(rows)
