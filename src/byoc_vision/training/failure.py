"""How a job that fails says why: one line to read, the exit status, and /opt/ml/output/failure."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from byoc_vision.errors import UserError
from byoc_vision.training.signals import STOPPED_EXIT_CODE, StopRequestedError
from byoc_vision.training.error_files import FAILURES_FOLDER, Report, is_consequence, place, write_report

logger = logging.getLogger(__name__)

# SageMaker shows the first 1,024 characters of the file as the job's FailureReason. Kept to as many bytes, which is
# never more characters.
FAILURE_BYTES = 1_024
BUG_EXIT_CODE = 1


@dataclass(frozen=True)
class Failure:
    """What the failure file says, and the exit status that goes with it."""

    message: str
    exit_code: int


def report_failures(failure_file: Path, work: Callable[[], int | None]) -> int:
    """Do the work; the process's exit status, which `work` may give. The only place that catches everything.

    What the user can mend is reported in a few lines; anything else is our bug and comes with its traceback. A process
    among several leaves its report to the one that started it, which knows which of them failed first.
    """
    try:
        return work() or 0
    except StopRequestedError:
        logger.info("Stopped before training began: there is nothing to save")
        return STOPPED_EXIT_CODE
    except UserError as error:
        logger.error("%s%s: %s", error.category, place(), error)
        failure = Failure(describe_user_error(error), error.exit_code)
        _report(failure_file, failure, error)
        return failure.exit_code
    except Exception as error:
        logger.exception("This is a bug of ours, please report it with the lines below")
        _report(failure_file, Failure(describe_bug(error), BUG_EXIT_CODE), error)
        return BUG_EXIT_CODE


def describe_user_error(error: UserError) -> str:
    """The cause and the remedy; then the end of the traceback of the error behind it, where there is one."""
    message = cut(f"{error.category}{place()}: {error}", FAILURE_BYTES)
    room = FAILURE_BYTES - len(message.encode()) - 1
    if error.__cause__ is None or room <= 0:
        return message
    return f"{message}\n{cut_front(''.join(traceback.format_exception(error.__cause__)), room)}"


def describe_bug(error: BaseException) -> str:
    """The cause in the first line, then the innermost lines of the traceback, within the limit."""
    headline = cut(f"Our bug{place()}: {type(error).__name__}: {error}", FAILURE_BYTES // 2)
    room = FAILURE_BYTES - len(headline.encode()) - 1
    return f"{headline}\n{cut_front(''.join(traceback.format_exception(error)), room)}"


def write_failure(path: Path, message: str) -> None:
    """Write the failure file, unless one is there: the first failure is the cause, the rest follow from it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(cut(message, FAILURE_BYTES))
    except FileExistsError:
        logger.info("%s holds an earlier failure; it is kept", path)
    except OSError as error:
        logger.error("%s could not be written: %s", path, error)


def cut(text: str, size: int) -> str:
    """The beginning of a text, at the most `size` bytes of UTF-8, and no half character."""
    return text.encode(errors="replace")[:size].decode(errors="ignore")


def cut_front(text: str, size: int) -> str:
    """The end of a text, as `cut`."""
    return text.encode(errors="replace")[-size:].decode(errors="ignore") if size > 0 else ""


def _report(failure_file: Path, failure: Failure, error: BaseException) -> None:
    folder = os.environ.get(FAILURES_FOLDER)
    if folder:
        write_report(Path(folder), Report(failure.message, failure.exit_code, is_consequence(error)))
    else:
        write_failure(failure_file, failure.message)
