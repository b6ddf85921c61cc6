"""How one process among several tells the one that started them why it failed."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

logger = logging.getLogger(__name__)

FAILURES_FOLDER = "BYOC_FAILURES_FOLDER"  # where the processes of this host leave their reports
HOST = "BYOC_HOST"  # what the job calls this host
_RANK = "RANK"

# What a process sees of another's end: a collective that breaks off or does not come.
_CONSEQUENCES = re.compile(
    r"Connection (closed|reset|refused)|[Bb]roken pipe|[Tt]imed? ?out|NCCL|[Gg]loo|TCPStore|ncclRemoteError|"
    r"[Cc]ollective|process group|Socket"
)


@dataclass(frozen=True)
class Report:
    """Why a process failed. consequence: most likely another process failed before, and this one saw it."""

    message: str
    exit_code: int
    consequence: bool = False
    rank: int = field(default_factory=lambda: int(os.environ.get(_RANK, "0")))
    time: float = field(default_factory=time.time)


def place() -> str:
    """Which process this is, where there are several: ` [rank 3 on algo-2]`."""
    if FAILURES_FOLDER not in os.environ:
        return ""
    return f" [rank {os.environ.get(_RANK, '0')} on {os.environ.get(HOST) or socket.gethostname()}]"


def is_consequence(error: BaseException) -> bool:
    """Whether an error looks like one that another process's end brings about."""
    return isinstance(error, RuntimeError | OSError) and bool(_CONSEQUENCES.search(str(error)))


def write_report(folder: Path, report: Report) -> None:
    try:
        (folder / f"rank-{report.rank}.json").write_text(json.dumps(asdict(report)), encoding="utf-8")
    except OSError as error:
        logger.error("the failure could not be reported: %s", error)


def read_reports(folder: Path) -> list[Report]:
    """The reports of this host's processes, causes before consequences, and then the earliest first."""
    reports = []
    for path in folder.glob("rank-*.json"):
        try:
            reports.append(Report(**json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError, TypeError) as error:
            logger.warning("%s is not a whole report: %s", path, error)
    return sorted(reports, key=lambda report: (report.consequence, report.time))
