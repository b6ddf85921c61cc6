"""How a job that fails says why: one line to read, the exit status, and /opt/ml/output/failure.

A process among several writes its failure to a file of its own for the launcher, which knows which of them failed
first. Elastic's `@record` writes such files too, but always ends with status 1 and does not tell causes from
consequences.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import time
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path

from byoc_vision.errors import UserError
from byoc_vision.launch.signals import STOPPED_EXIT_CODE, StopRequestedError
from byoc_vision.redaction import redact

logger = logging.getLogger(__name__)

FAILURES_FOLDER = "BYOC_FAILURES_FOLDER"  # where the processes of this host leave their failures
HOST = "BYOC_HOST"  # the job's name of this host
_RANK = "RANK"

# SageMaker shows the first 1,024 characters of the file as the job's FailureReason. Kept to as many bytes, which is
# never more characters.
FAILURE_BYTES = 1_024
INTERNAL_EXIT_CODE = 1

# What a process sees of another's end: a collective that breaks off or does not come.
_CONSEQUENCES = re.compile(
    r"Connection (closed|reset|refused)|[Bb]roken pipe|[Tt]imed? ?out|NCCL|[Gg]loo|TCPStore|ncclRemoteError|"
    r"[Cc]ollective|process group|Socket"
)


@dataclass(frozen=True)
class Failure:
    """Why a process failed. consequence: most likely another process failed first, and this one noticed."""

    message: str
    exit_code: int
    consequence: bool = False
    rank: int = field(default_factory=lambda: int(os.environ.get(_RANK, "0")))
    time: float = field(default_factory=time.time)


def forget_failure(failure_file: Path) -> None:
    """Remove what an earlier job in the same folder left, unless the launcher of this process did."""
    if FAILURES_FOLDER in os.environ:
        return
    try:
        failure_file.unlink(missing_ok=True)
    except OSError as error:
        logger.error("%s is an earlier job's and could not be removed: %s", failure_file, error)


def report_failure(failure_file: Path | None, error: Exception) -> int:
    """Log what ended the process, and write it where SageMaker, or the launcher, finds it.

    What the user can fix is reported in a few lines; anything else is an internal error and comes with its traceback.
    Without a failure file it is only logged.

    Returns:
        The exit status of the process.
    """
    if isinstance(error, StopRequestedError):
        logger.info("Stopped before training began: there is nothing to save")
        return STOPPED_EXIT_CODE
    if isinstance(error, UserError):
        logger.error("%s%s: %s", error.category, place(), error)
        failure = Failure(describe_user_error(error), error.exit_code, _is_consequence(error))
    else:
        logger.error("Internal error, please report it with the lines below", exc_info=error)
        failure = Failure(describe_internal_error(error), INTERNAL_EXIT_CODE, _is_consequence(error))
    if folder := os.environ.get(FAILURES_FOLDER):
        _write_of_rank(Path(folder), failure)
    elif failure_file:
        write_failure(failure_file, failure.message)
    return failure.exit_code


def describe_user_error(error: UserError) -> str:
    """The cause and the remedy; then the end of the traceback of the error behind it, if there is one."""
    message = cut(redact(f"{error.category}{place()}: {error}"), FAILURE_BYTES)
    room = FAILURE_BYTES - len(message.encode()) - 1
    if error.__cause__ is None or room <= 0:
        return message
    return f"{message}\n{cut_front(_traceback(error.__cause__), room)}"


def describe_internal_error(error: BaseException) -> str:
    """The cause in the first line, then the innermost lines of the traceback, within the limit."""
    headline = cut(redact(f"Internal error{place()}: {type(error).__name__}: {error}"), FAILURE_BYTES // 2)
    room = FAILURE_BYTES - len(headline.encode()) - 1
    return f"{headline}\n{cut_front(_traceback(error), room)}"


def write_failure(path: Path, message: str) -> None:
    """Write the failure file, unless it exists: the first failure is the cause, the others follow from it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(cut(redact(message), FAILURE_BYTES))
    except FileExistsError:
        logger.info("%s holds an earlier failure; it is kept", path)
    except OSError as error:
        logger.error("%s could not be written: %s", path, error)


def place() -> str:
    """Which process this is, if there are several: ` [rank 3 on algo-2]`."""
    if FAILURES_FOLDER not in os.environ:
        return ""
    return f" [rank {os.environ.get(_RANK, '0')} on {os.environ.get(HOST) or socket.gethostname()}]"


def read_failures(folder: Path) -> list[Failure]:
    """The failures of this host's processes, causes before consequences, and then the earliest first."""
    failures = []
    for path in folder.glob("rank-*.json"):
        try:
            failures.append(Failure(**json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            logger.warning("%s is not a whole report of a failure: %s", path, error)
    return sorted(failures, key=lambda failure: (failure.consequence, failure.time))


def cut(text: str, size: int) -> str:
    """The beginning of a text, at most `size` bytes of UTF-8, and no half character."""
    return text.encode(errors="replace")[:size].decode(errors="ignore")


def cut_front(text: str, size: int) -> str:
    """The end of a text, as `cut`."""
    return text.encode(errors="replace")[-size:].decode(errors="ignore") if size > 0 else ""


def _traceback(error: BaseException) -> str:
    return redact("".join(traceback.format_exception(error)))


def _is_consequence(error: BaseException) -> bool:
    """Whether an error looks like one that another process's end brings about."""
    return isinstance(error, RuntimeError | OSError) and is_consequence(str(error))


def is_consequence(text: str) -> bool:
    """Whether the text of an error is one that another process's end brings about."""
    return _CONSEQUENCES.search(text) is not None


def _write_of_rank(folder: Path, failure: Failure) -> None:
    try:
        (folder / f"rank-{failure.rank}.json").write_text(json.dumps(asdict(failure)), encoding="utf-8")
    except OSError as error:
        logger.error("the failure could not be written for the launcher: %s", error)
