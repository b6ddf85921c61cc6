"""Where a report's matter comes from: a job's output folder, or the archive that SageMaker makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from byoc_vision.archives import OUTPUTS, unpacked
from byoc_vision.data.preflight_report import REPORT_FILE as PREFLIGHT_FILE
from byoc_vision.data.preflight_report import PreflightReport
from byoc_vision.errors import DataError
from byoc_vision.report.record import RECORD_FILE


@contextmanager
def opened(source: Path) -> Iterator[Path]:
    """The folder with a job's record: of a folder, a folder nested one deep, or a tar archive of either.

    Raises DataError if there is none, or the archive is damaged or holds what an output does not; see `Unpacker`.
    """
    if source.is_dir():
        yield _folder_with_record(source)
    elif source.is_file():
        with unpacked(source, OUTPUTS) as folder:
            yield _folder_with_record(folder)
    else:
        problem = "is neither a folder nor a file" if source.exists() else "does not exist"
        raise DataError(f"{source} {problem}; name a job's output/data folder, or its output.tar.gz")


def _folder_with_record(folder: Path) -> Path:
    candidates = [folder, *(child for child in sorted(folder.iterdir()) if child.is_dir())]
    found = [candidate for candidate in candidates if (candidate / RECORD_FILE).is_file()]
    if found and (found[0] == folder or len(found) == 1):
        return found[0]
    if found:
        runs = ", ".join(candidate.name for candidate in found)
        raise DataError(f"{folder} holds several jobs ({runs}); name them one by one")
    held = ", ".join(sorted(child.name for child in folder.iterdir())[:8]) or "nothing"
    raise DataError(
        f"{folder} is no job's output: {RECORD_FILE} is missing (it holds: {held}). "
        "Name the output/data folder of a training job, or its output.tar.gz"
    )


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
