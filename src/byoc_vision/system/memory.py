"""How much memory programs can still have, on a bare machine or in a container, and whether it ran out."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from pathlib import Path

from byoc_vision.errors import RequestError

_MEMINFO = Path("/proc/meminfo")
_CONTROL_GROUP = Path("/sys/fs/cgroup")

# Libraries say it in many ways; torch also as a "CUDA error", for memory outside of its pool. cuDNN finds no "engine"
# if none of its algorithms has room for its workspace. The thread that copies batches for the GPU names the class of
# the error, or only that it ended.
_OUT_OF_MEMORY = re.compile(
    r"can't allocate memory|cannot allocate memory|out of memory|insufficient memory|bad_alloc|failed to allocate"
    r"|_ALLOC_FAILED|_ALLOCATION_FAILED|unable to find an engine|Caught OutOfMemoryError|Pin memory thread exited",
    re.IGNORECASE,
)


def free_memory(meminfo: Path = _MEMINFO, control_group: Path = _CONTROL_GROUP) -> int | None:
    """Bytes that programs can still get without swapping, in this container; None if unknown.

    The page cache counts as free, except for mapped files such as libraries: the kernel releases it. Sources:
    proc_meminfo(5), the kernel's documentation of control groups (v2: memory.max, memory.current; v1:
    memory.limit_in_bytes, memory.usage_in_bytes; memory.stat).
    """
    available = _table(meminfo).get("MemAvailable:")
    limits = [] if available is None else [available * 1024]
    for folder, names, files in (
        (control_group, ("memory.max", "memory.current"), ("inactive_file", "active_file", "file_mapped")),
        (
            control_group / "memory",
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
            ("total_inactive_file", "total_active_file", "total_mapped_file"),
        ),
    ):
        limit, used = (_number(folder / name) for name in names)
        if limit is not None and used is not None:
            table = _table(folder / "memory.stat")
            inactive, active, mapped = (table.get(name, 0) for name in files)
            limits.append(max(0, limit - used + inactive + max(0, active - mapped)))
    return min(limits, default=None)


def memory_limit(meminfo: Path = _MEMINFO, control_group: Path = _CONTROL_GROUP) -> int | None:
    """Bytes of memory that this container may use, or that the machine has; None if unknown."""
    total = _table(meminfo).get("MemTotal:")
    limits = [] if total is None else [total * 1024]
    for file in ("memory.max", "memory/memory.limit_in_bytes"):
        limit = _number(control_group / file)
        if limit is not None:
            limits.append(limit)
    return min(limits, default=None)


def memory_in_use() -> int | None:
    """Bytes of this container's memory that programs can no longer have; None if the system does not say."""
    limit, free = memory_limit(), free_memory()
    return None if limit is None or free is None else max(0, limit - free)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or one that caused it, says that memory ran out, of the GPU or of the machine.

    By the names of its classes and by its text, so that torch need not be imported.
    """
    return any(_says_out_of_memory(cause) for cause in _causes(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """It and its causes; one of a script's own may be its own cause."""
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and not any(cause is other for other in seen):
        yield cause
        seen.append(cause)
        cause = cause.__cause__


def _says_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, RequestError):  # whatever its text, the request is at fault
        return False
    if isinstance(error, MemoryError) or any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, Exception) and _OUT_OF_MEMORY.search(str(error)) is not None


def _table(file: Path) -> dict[str, int]:
    """Name → number, from lines with both."""
    rows = (line.split() for line in _text(file).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) >= 2 and row[1].isdecimal()}


def _number(file: Path) -> int | None:
    text = _text(file).strip()
    return int(text) if text.isdecimal() else None  # `max` means unlimited


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
