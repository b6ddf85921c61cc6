"""Reads Linux's data about processes. Imports nothing else, so that a process can measure itself."""

from __future__ import annotations

import os
import re
from pathlib import Path


def megabytes(process: int, name: str) -> float:
    """The value of a line of a process's smaps_rollup; 0 if the process has just ended."""
    return _megabytes(process, "smaps_rollup", name)


def peak_megabytes(process: int) -> float:
    """The most resident memory that a process has had so far; 0 if it has just ended."""
    return _megabytes(process, "status", "VmHWM")


def _megabytes(process: int, file: str, name: str) -> float:
    try:
        text = Path(f"/proc/{process}/{file}").read_text()
    except OSError:
        return 0.0
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) / 1000 if found else 0.0


def family(process: int) -> list[int]:
    """A process and all its descendants."""
    found = [process]
    for one in found:
        for children in Path(f"/proc/{one}/task").glob("*/children"):
            found += map(int, children.read_text().split())
    return found


def cpu_seconds(process: int) -> float:
    """The CPU time of a process without its children; 0 if it has ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
