"""What this process may use of its machine: cores, memory and GPUs. Imports no torch; gpus.py says what torch sees."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

_DRIVER_FILE = "/proc/driver/nvidia/version"
_DRIVER_FILE_VARIABLE = "BYOC_NVIDIA_VERSION_FILE"
_VERSION = re.compile(r"(?<![\w.])\d+(?:\.\d+)+(?![\w.])")

_QUOTA_V2 = "sys/fs/cgroup/cpu.max"
_QUOTA_V1 = "sys/fs/cgroup/cpu/cpu.cfs_quota_us"
_PERIOD_V1 = "sys/fs/cgroup/cpu/cpu.cfs_period_us"


def available_cores(root: Path = Path("/")) -> int:
    """The cores that this process may use: its affinity, and its container's share (`docker run --cpus`).

    `os.cpu_count` counts the whole machine, and that many threads slow each other down in a small share.
    """
    affinity = len(os.sched_getaffinity(0))
    return max(1, min(affinity, round(_cpu_quota(root) or affinity)))


def visible_gpus(environment: Mapping[str, str], devices: Path = Path("/dev")) -> int:
    """The number of NVIDIA GPUs in this container, without those that CUDA_VISIBLE_DEVICES hides."""
    present = sum(1 for path in devices.glob("nvidia*") if path.name.removeprefix("nvidia").isdigit())
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return present
    return min(present, len([name for name in chosen.split(",") if name.strip() and name.strip() != "-1"]))


def driver_version(environment: Mapping[str, str]) -> str | None:
    """The version of the kernel's NVIDIA driver, as `535.183.01`; None without a driver."""
    file = Path(environment.get(_DRIVER_FILE_VARIABLE) or _DRIVER_FILE)
    try:
        first_line = file.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
    except OSError:
        return None
    found = _VERSION.search(first_line)
    return found[0] if found else None


def _cpu_quota(root: Path) -> float | None:
    """The number of cores, or None without a limit."""
    words = _words(root / _QUOTA_V2) or _words(root / _QUOTA_V1) + _words(root / _PERIOD_V1)
    if len(words) != 2 or not all(word.isdigit() for word in words) or int(words[1]) == 0:
        return None  # "max 100000" and "-1" mean no limit
    return int(words[0]) / int(words[1])


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").split()
    except OSError:
        return []


_FACTS = Path("/proc/meminfo")
_CONTROL_GROUP = Path("/sys/fs/cgroup")


def free_memory(facts: Path = _FACTS, control_group: Path = _CONTROL_GROUP) -> int | None:
    """Bytes that programs can still get without swapping, in this container; None if unknown.

    The page cache counts as free, except for mapped files such as libraries: the kernel releases it. Sources:
    proc_meminfo(5), the kernel's documentation of control groups (v2: memory.max, memory.current; v1:
    memory.limit_in_bytes, memory.usage_in_bytes; memory.stat).
    """
    available = _table(facts).get("MemAvailable:")
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


def memory_limit(facts: Path = _FACTS, control_group: Path = _CONTROL_GROUP) -> int | None:
    """Bytes of memory that this container may use, or that the machine has; None if unknown."""
    total = _table(facts).get("MemTotal:")
    limits = [] if total is None else [total * 1024]
    for file in ("memory.max", "memory/memory.limit_in_bytes"):
        limit = _number(control_group / file)
        if limit is not None:
            limits.append(limit)
    return min(limits, default=None)


def _table(file: Path) -> dict[str, int]:
    """Name → number, from lines with both."""
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


SPINS = "1000"  # about 50 µs, a few times the time in which a sleeping thread wakes


def sleep_between_regions() -> None:
    """Let OpenMP's threads go to sleep early. torch reads this setting on import, so call it before.

    By default they spin for milliseconds after each parallel region, waiting for the next one. That takes the cores
    that decode images, and uses up a container's share of cores (`docker run --cpus`). A setting of the user is kept.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
