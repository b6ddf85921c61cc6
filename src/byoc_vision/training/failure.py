"""How a job that fails says why: one line to read, the exit status, and /opt/ml/output/failure."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from pathlib import Path

from byoc_vision.errors import UserError

log = logging.getLogger(__name__)

# SageMaker shows the first 1,024 characters of the file as the job's FailureReason.
FAILURE_CHARACTERS = 1_024
BUG_EXIT_CODE = 1


def report_failures(failure_file: Path, work: Callable[[], None]) -> int:
    """Do the work; the process's exit status. The only place that catches everything.

    What the user can mend is reported in a few lines; anything else is our bug and comes with its traceback.
    """
    try:
        work()
    except UserError as error:
        message = f"{error.category}: {error}"
        log.error(message)
        write_failure(failure_file, message)
        return error.exit_code
    except Exception as error:
        log.exception("This is a bug of ours, please report it with the lines below")
        write_failure(failure_file, describe_bug(error))
        return BUG_EXIT_CODE
    return 0


def describe_bug(error: BaseException) -> str:
    """The cause in the first line, then the innermost lines of the traceback, within the limit."""
    headline = f"Our bug: {type(error).__name__}: {error}"[: FAILURE_CHARACTERS // 2]
    room = FAILURE_CHARACTERS - len(headline) - 1
    return f"{headline}\n{''.join(traceback.format_exception(error))[-room:]}"


def write_failure(path: Path, message: str) -> None:
    """Write the failure file, unless one is there: the first failure is the cause, the rest follow from it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(message[:FAILURE_CHARACTERS])
    except FileExistsError:
        log.info("%s holds an earlier failure; it is kept", path)
    except OSError as error:
        log.error("%s could not be written: %s", path, error)
