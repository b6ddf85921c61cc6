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

from byoc_vision.errors import InputError, ResourceError

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def free_bytes(path: Path) -> int | None:
    """The free bytes of the disk that `path` is on, or would be; None if the system does not say."""
    for folder in (path, *path.parents):
        try:
            return shutil.disk_usage(folder).free
        except OSError:
            continue
    return None


def cannot_be_written(path: Path, reason: object, need: int | None = None) -> ResourceError:
    """What to say of a file that a job cannot do without. need: its size in bytes, if it is known."""
    free = free_bytes(path)
    facts = [f"{need:,} bytes are needed"] if need is not None else []
    facts += [f"{free:,} bytes are free"] if free is not None else []
    room = f"; {', '.join(facts)}" if facts else ""
    return ResourceError(
        f"{path} could not be written ({reason}){room}; give the job a larger volume, and make the folder writable"
    )


@contextmanager
def written_or_named(
    path: Path, need: int | None = None, errors: tuple[type[Exception], ...] = (OSError,)
) -> Iterator[None]:
    """Raises ResourceError, which names `path` with the free bytes and the need, in place of `errors`."""
    try:
        yield
    except errors as error:
        raise cannot_be_written(path, error, need) from error


def check_new_folder(output: Path) -> None:
    """Raises InputError unless `output` is an empty folder, or nothing yet."""
    if output.is_dir():
        if any(output.iterdir()):
            raise InputError(f"{output} is not empty; name a new folder, or empty it")
    elif output.exists() or output.is_symlink():
        raise InputError(f"{output} is a file; name a new folder")


@contextmanager
def renamed_into_place(path: Path) -> Iterator[Path]:
    """A temporary file beside `path`, on the same disk, that replaces `path` when the context ends without an error."""
    with tempfile.TemporaryDirectory(prefix=".saving-", dir=path.parent, ignore_cleanup_errors=True) as scratch:
        beside = Path(scratch, path.name)
        yield beside
        give_usual_mode(beside)
        os.replace(beside, path)


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
    """Write a table as a whole, as `write_whole` does, with `spreadsheet_cells`. Raises OSError."""
    with renamed_into_place(path) as beside, beside.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(spreadsheet_cells(header))
        table.writerows(map(spreadsheet_cells, rows))


def spreadsheet_cells(cells: Sequence[object]) -> list[object]:
    """The cells of a row, with an apostrophe before texts that a spreadsheet would compute as a formula.

    Names of files and classes come from outside. Numbers stay numbers.
    """
    return [f"'{cell}" if _is_formula(cell) else cell for cell in cells]


def _is_formula(cell: object) -> bool:
    text = str(cell)
    if not text.startswith(_FORMULA_STARTS):
        return False
    try:
        float(text)
    except ValueError:
        return True
    return False
