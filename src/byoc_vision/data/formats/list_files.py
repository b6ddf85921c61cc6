"""List files: read whole, once, and quoted by line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from byoc_vision.errors import DataError


class Line(NamedTuple):
    """A line of a list that says something. place: file and line, for messages."""

    place: str
    text: str


def read_text(path: Path) -> str:
    """Raises DataError where the file cannot be read or is no UTF-8 text."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no UTF-8 text (byte {error.start:,}); save it as UTF-8") from error


def read_lines(path: Path, comment: str = "#") -> Iterator[Line]:
    """The lines of a list, without blank ones and those that begin with `comment`."""
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        text = line.strip()
        if text and not text.startswith(comment):
            yield Line(f"{path}, line {number}", text)
