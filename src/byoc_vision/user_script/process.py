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
from typing import NamedTuple

from byoc_vision.launch.error_files import FAILURE_BYTES, cut, cut_front, is_consequence
from byoc_vision.launch.signals import handled
from byoc_vision.redaction import redact

TAIL_BYTES = 2**20  # of stderr, for the failure file: some exceptions print an array
_PIECE = 2**16
_DRAIN_SECONDS = 5.0  # for what the script left running, with its stderr, when it ended

_TRACEBACK = "Traceback (most recent call last):"
_HEADER = re.compile(rf"^.*{re.escape(_TRACEBACK)}$", re.MULTILINE)
_PLACE = re.compile(r'^\s+File "(.+)", line (\d+)', re.MULTILINE)
_LOG_LINE = re.compile(r"[IWEF]\d{4} \d")  # of torchrun
_MESSAGE_LINES = 3
_RANK_PREFIX = re.compile(r"^\[[\w.-]*rank\d+\]:\s?", re.MULTILINE)  # of torch.distributed
# What a launcher raises because a process of its own failed: that process's own exception is the cause.
_LAUNCHERS = ("ChildFailedError", "CalledProcessError", "SignalException")
_ROOT_CAUSE = re.compile(r"^Root Cause .*?^\s+rank\s+: (\d+).*?^\s+exitcode\s+: (-?\d+)", re.MULTILINE | re.DOTALL)
# A script that is not Python has no traceback, only its place.
_SYNTAX_ERROR = re.compile(
    r'^  File ".+", line \d+\n(?:    .*\n)*(?=(?:Syntax|Indentation|Tab)Error: )|^(?=SyntaxError: )', re.MULTILINE
)
_GROUP = "Exception Group Traceback"
_GROUP_RULE = re.compile(r"^ +\+[-+]+(?: \d+ -+)?\n?", re.MULTILINE)
_GROUP_MARGIN = re.compile(r"^ +\| ?", re.MULTILINE)
_CHAINED = "The above exception was the direct cause of the following exception:"


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
    process: subprocess.Popen[bytes] | None = None
    asked = False

    def pass_on(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        if process:
            process.send_signal(signal.SIGTERM)

    tail = bytearray()
    reader = Thread(target=_copy, args=(source, tail), daemon=True)
    with handled(pass_on):
        process = subprocess.Popen(command, cwd=folder, env=environment, stderr=target)
        os.close(target)
        if asked:  # while it started
            process.send_signal(signal.SIGTERM)
        reader.start()
        status = process.wait()
    reader.join(_DRAIN_SECONDS)
    return Ended(status, tail.decode(errors="replace"), asked)


def describe_end(script: str, ended: Ended) -> str:
    """Why a script failed, for the failure file: the exception, then where, then the end of its traceback."""
    tail = _RANK_PREFIX.sub("", ended.tail)
    how, trace = _how(ended.status), _cause(tail)
    if found := _ROOT_CAUSE.search(tail):  # torchrun's own status says nothing
        how = f"{_how(int(found[2]))} (rank {found[1]})"
        tail = _without_launcher(tail)
    if trace is None or _is_sudden(int(found[2]) if found else ended.status):
        last = tail.strip()
        return _join(f"{script} {how}" + ("" if last else " and wrote nothing to stderr"), last)
    place = _own_place(trace.frames)
    headline = cut(redact(trace.exception), FAILURE_BYTES // 2) + (f" ({place})" if place else "")
    return _join(headline, f"{trace.reason}{script} {how}" + (f":\n{trace.frames}" if trace.frames else ""))


def _join(headline: str, rest: str) -> str:
    headline = cut(redact(headline), FAILURE_BYTES)
    room = FAILURE_BYTES - len(headline.encode()) - 1
    return f"{headline}\n{cut_front(redact(rest), room)}" if rest and room > 0 else headline


def _how(status: int) -> str:
    if status == -signal.SIGKILL:
        return "was killed by SIGKILL, mostly for lack of memory"
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"


def _is_sudden(status: int) -> bool:
    """Whether a signal ended it that leaves no traceback: one in its log is of something else."""
    return status < 0 and status != -signal.SIGINT


class _Trace(NamedTuple):
    """exception: in one line. frames: where. after: what follows. reason: a line about what it was raised from."""

    exception: str
    frames: str
    after: str = ""
    reason: str = ""

    @property
    def is_launchers(self) -> bool:
        return self.exception.partition(":")[0].endswith(_LAUNCHERS)


def _cause(text: str) -> _Trace | None:
    """The exception that ended the script; None without one, except a launcher's."""
    if is_group := _GROUP in text:
        text = _GROUP_MARGIN.sub("", _GROUP_RULE.sub("", text))
    text = _SYNTAX_ERROR.sub(_add_header, text)
    traces = [found for part in _HEADER.split(text)[1:] if (found := _split(part))]
    own = [trace for trace in traces if not trace.is_launchers]
    causes = [trace for trace in own if not is_consequence(trace.exception)] or own
    if not causes:
        return None
    if is_group and (group := next((one for one in own if _type_of(one).endswith("ExceptionGroup")), None)):
        members = own[own.index(group) + 1 :]
        several = "; ".join(member.exception for member in members)
        return members[0]._replace(exception=f"{group.exception}: {several}") if members else group
    last = causes[-1]
    before = traces[: traces.index(last)]
    if before and before[-1].after.rstrip().endswith(_CHAINED):
        place = _own_place(before[-1].frames)
        return last._replace(reason=f"from {cut(redact(before[-1].exception), FAILURE_BYTES // 4)} ({place})\n")
    return last


def _type_of(trace: _Trace) -> str:
    return trace.exception.partition(":")[0]


def _add_header(found: re.Match[str]) -> str:
    """Before a place that does not belong to a traceback already."""
    before = found.string[: found.start()].rpartition("\n")[0].rpartition("\n")[2]
    inside = found.start() > 0 and (before.startswith(" ") or before.endswith(_TRACEBACK))
    return found[0] if inside else f"{_TRACEBACK}\n{found[0]}"


def _own_place(frames: str) -> str:
    """The innermost place in the user's own files; empty if there is none."""
    places = _PLACE.findall(frames)
    own = [place for place in places if "site-packages" not in place[0] and "/lib/python" not in place[0]] or places
    return f"{own[-1][0]}, line {own[-1][1]}" if own else ""


def _without_launcher(text: str) -> str:
    """Without what torchrun itself says, and its traceback, which is the last."""
    own = text.rpartition(_TRACEBACK)[0] if _TRACEBACK in text else text
    return "\n".join(line for line in own.splitlines() if not _LOG_LINE.match(line))


def _split(part: str) -> _Trace | None:
    """What follows the header of a traceback: the exception begins at the first line that is not indented."""
    lines = part.strip("\n").splitlines()
    for number, line in enumerate(lines):
        if line and not line[0].isspace():
            return _Trace(_message(lines[number:]), "\n".join(lines[:number]), "\n".join(lines[number + 1 :]))
    return None


def _message(lines: Sequence[str]) -> str:
    """An exception's text may have several lines; what follows may be a log, or an exception that it led to."""
    own = [lines[0]]
    for line in lines[1:]:
        if len(own) == _MESSAGE_LINES or _LOG_LINE.match(line):
            break
        if not line.strip():
            if not own[-1].rstrip().endswith(":"):
                break
            continue
        own.append(line)
    return " ".join(line.strip() for line in own)


def _copy(source: int, tail: bytearray) -> None:
    while piece := os.read(source, _PIECE):
        os.write(2, piece)
        tail += piece
        del tail[:-TAIL_BYTES]
    os.close(source)
