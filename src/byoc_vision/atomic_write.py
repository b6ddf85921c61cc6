"""Atomic writes: a file is complete or absent."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def renamed_into_place(path: Path) -> Iterator[Path]:
    """A temporary file beside `path`, on the same disk, that replaces `path` when the context ends without an error."""
    scratch = Path(tempfile.mkdtemp(prefix=".saving-", dir=path.parent))
    try:
        beside = scratch / path.name
        yield beside
        os.replace(beside, path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_whole(path: Path, text: str) -> None:
    """Write a text as UTF-8: a reader finds the previous text or this one. Raises OSError."""
    with renamed_into_place(path) as beside:
        beside.write_text(text, encoding="utf-8")
