"""Where a report's matter comes from: a job's output folder, or the archive that SageMaker makes of it."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from byoc_vision.data.preflight.report import REPORT_FILE as PREFLIGHT_FILE
from byoc_vision.data.preflight.report import PreflightReport
from byoc_vision.errors import DataError
from byoc_vision.report.record import RECORD_FILE


@contextmanager
def opened(source: Path) -> Iterator[Path]:
    """The folder with a job's record: of a folder, a folder nested one deep, or a tar archive of either.

    Raises DataError where there is none.
    """
    if not source.exists():
        raise DataError(f"{source} does not exist; name a job's output/data folder, or its output.tar.gz")
    if source.is_dir():
        yield _folder_with_record(source)
        return
    with tempfile.TemporaryDirectory(prefix="byoc-report-") as scratch:
        _unpack(source, Path(scratch))
        yield _folder_with_record(Path(scratch), named=source)


def _folder_with_record(folder: Path, named: Path | None = None) -> Path:
    candidates = [folder, *(child for child in sorted(folder.iterdir()) if child.is_dir())]
    found = [candidate for candidate in candidates if (candidate / RECORD_FILE).is_file()]
    if found and (found[0] == folder or len(found) == 1):
        return found[0]
    name = named or folder
    if found:
        runs = ", ".join(candidate.name for candidate in found)
        raise DataError(f"{name} holds several jobs ({runs}); name them one by one")
    held = ", ".join(sorted(child.name for child in folder.iterdir())[:8]) or "nothing"
    raise DataError(
        f"{name} is no job's output: {RECORD_FILE} is missing (it holds: {held}). "
        "Name the output/data folder of a training job, or its output.tar.gz"
    )


def _unpack(archive: Path, folder: Path) -> None:
    """Members that leave the folder, links out of it and devices are refused."""
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(
            f"{archive} is no whole tar archive of a job's output ({error}); fetch it again, or name the folder"
        ) from error


def read_preflight(folder: Path) -> PreflightReport | None:
    """The check of the data; None where there is none, or where the data could not even be listed.

    Raises DataError where it cannot be read.
    """
    path = folder / PREFLIGHT_FILE
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error})") from error
    try:
        return TypeAdapter(PreflightReport).validate_json(content)
    except ValidationError as error:
        missing = {problem["loc"] for problem in error.errors() if problem["type"] == "missing"}
        if ("task",) in missing:
            return None  # a refusal: its errors are the job's own
        raise DataError(f"{path} cannot be read as a check of the data ({error.error_count()} mistakes)") from error
