"""Where the cache lies, and how large it may become."""

from __future__ import annotations

import logging
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from byoc_vision.data.workers import SHARED_MEMORY

logger = logging.getLogger(__name__)

CacheMode = Literal["auto", "off", "memory", "disk"]

_HALF = 2
_MEMORY_FACTS = Path("/proc/meminfo")
_CONTROL_GROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Place:
    """A folder, and the bytes that the cache in it may come to."""

    folder: Path
    capacity: int


def choose_place(
    mode: CacheMode,
    gigabytes: float | None = None,
    *,
    memory: int | None,
    disk: Path | None = None,
    shared_memory: Path = SHARED_MEMORY,
) -> Place | None:
    """The place for a mode; None where there is none.

    auto: files on disk, of which half of the free memory can hold all pages: they are read from there, and a program
    that needs the memory gets it. More would be read from the disk, which can be slower than decoding.
    disk: half of the free disk, whatever the memory. memory: files in shared memory, which no slow disk holds up.
    gigabytes: takes the place of both halves.
    memory: bytes that programs can still have; None where that is not known.
    """
    if mode == "off":
        return None
    folder = shared_memory if mode == "memory" else disk or Path(tempfile.gettempdir())
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        logger.warning("cache=%s: %s cannot be used (%s); there is no cache", mode, folder, error.strerror)
        return None
    if gigabytes is not None:
        return Place(folder, min(int(gigabytes * 1e9), free))
    limits = [free // _HALF]
    if mode != "disk":
        limits.append((memory or 0) // _HALF)
    return Place(folder, min(limits))


def free_memory(facts: Path = _MEMORY_FACTS, control_group: Path = _CONTROL_GROUP) -> int | None:
    """Bytes that programs can still have without swapping, in this container; None where the system does not tell.

    Memory that files take is free: the kernel gives it up. Sources: proc_meminfo(5), the kernel's documentation of
    control groups (v2: memory.max, memory.current; v1: memory.limit_in_bytes, memory.usage_in_bytes; memory.stat).
    """
    available = _table(facts).get("MemAvailable:")
    limits = [] if available is None else [available * 1024]
    for folder, names, inactive in (
        (control_group, ("memory.max", "memory.current"), "inactive_file"),
        (control_group / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes"), "total_inactive_file"),
    ):
        limit, used = (_number(folder / name) for name in names)
        if limit is not None and used is not None:
            limits.append(max(0, limit - used + _table(folder / "memory.stat").get(inactive, 0)))
    return min(limits, default=None)


def _table(file: Path) -> dict[str, int]:
    """Lines of a name and a number."""
    rows = (line.split() for line in _text(file).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) >= 2 and row[1].isdecimal()}


def _number(file: Path) -> int | None:
    text = _text(file).strip()
    return int(text) if text.isdecimal() else None  # `max` is no limit


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
