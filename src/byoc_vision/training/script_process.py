"""A user's own training script as a process: its signals, and what it said last."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from types import FrameType

from byoc_vision.redaction import redact
from byoc_vision.training.error_files import FAILURE_BYTES, cut, cut_front
from byoc_vision.training.signals import handled

TAIL_BYTES = 2**16  # of stderr, for the failure file
_PIECE = 2**16
_DRAIN_SECONDS = 5.0  # for what the script left running, with its stderr, when it ended

_TRACEBACK = "Traceback (most recent call last):"
_PLACE = re.compile(r'^\s+File "(.+)", line (\d+)', re.MULTILINE)
_LOG_LINE = re.compile(r"[IWEF]\d{4} \d")  # of torchrun
_MESSAGE_LINES = 3
_RANK_PREFIX = re.compile(r"^\[[\w.-]*rank\d+\]:\s?", re.MULTILINE)  # of torch.distributed
# What a launcher raises because a process of its own failed: that process's own exception is the cause.
_LAUNCHERS = ("ChildFailedError", "CalledProcessError", "SignalException")


@dataclass(frozen=True)
class Ended:
    """How a script ended. status: as Python reports it, negative for a signal. tail: the end of its stderr.

    asked: whether it was asked to stop.
    """

    status: int
    tail: str
    asked: bool


def run_script(command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> Ended:
    """Run a command until it ends. SIGTERM and SIGINT are passed on to it.

    Its stdout is this process's own. Its stderr is passed on byte by byte, and its end is kept.
    """
    source, target = os.pipe()
    process = subprocess.Popen(command, cwd=folder, env=environment, stderr=target)
    os.close(target)
    asked = False

    def pass_on(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        process.send_signal(signal.SIGTERM)

    tail = bytearray()
    reader = Thread(target=_copy, args=(source, tail), daemon=True)
    with handled(pass_on):
        reader.start()
        status = process.wait()
    reader.join(_DRAIN_SECONDS)
    return Ended(status, tail.decode(errors="replace"), asked)


def describe_end(script: str, ended: Ended) -> str:
    """Why a script failed, for the failure file: the exception, then where, then the end of its traceback."""
    trace = _cause(_RANK_PREFIX.sub("", ended.tail))
    how = _how(ended.status)
    if trace is None:
        last = ended.tail.strip()
        headline = f"{script} {how}" + ("" if last else " and wrote nothing to stderr")
        return _join(headline, last)
    exception, lines = trace
    places = _PLACE.findall(lines)
    own = [place for place in places if "site-packages" not in place[0] and "/lib/python" not in place[0]] or places
    where = f" ({own[-1][0]}, line {own[-1][1]})" if own else ""
    return _join(cut(redact(exception), FAILURE_BYTES // 2) + where, f"{script} {how}:\n{lines}")


def _join(headline: str, rest: str) -> str:
    headline = cut(redact(headline), FAILURE_BYTES)
    room = FAILURE_BYTES - len(headline.encode()) - 1
    return f"{headline}\n{cut_front(redact(rest), room)}" if rest and room > 0 else headline


def _how(status: int) -> str:
    if status == -signal.SIGKILL:
        return "was killed by SIGKILL, mostly for lack of memory"
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"


def _cause(text: str) -> tuple[str, str] | None:
    """The exception that ended the script, as one line, and its traceback's lines; None without a traceback."""
    traces = [found for part in text.split(_TRACEBACK)[1:] if (found := _split(part))]
    for exception, lines in reversed(traces):
        if not any(exception.partition(":")[0].endswith(name) for name in _LAUNCHERS):
            return exception, lines
    return traces[-1] if traces else None


def _split(part: str) -> tuple[str, str] | None:
    """What follows the first line of a traceback: the exception begins at the first line that is not indented."""
    lines = part.strip("\n").splitlines()
    for number, line in enumerate(lines):
        if line and not line[0].isspace():
            return _message(lines[number:]), "\n".join(lines[: number + 1])
    return None


def _message(lines: Sequence[str]) -> str:
    """An exception's text may have several lines; what follows may be a log, or an exception that it led to."""
    own = [lines[0]]
    for line in lines[1:_MESSAGE_LINES]:
        if not line.strip() or _LOG_LINE.match(line):
            break
        own.append(line)
    return " ".join(line.strip() for line in own)


def _copy(source: int, tail: bytearray) -> None:
    while piece := os.read(source, _PIECE):
        os.write(2, piece)
        tail += piece
        del tail[:-TAIL_BYTES]
    os.close(source)
