"""The cores, GPUs and CPU features that this container may use, found without torch; see gpus.py for torch's view."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

GPU_VARIABLE = "CUDA_VISIBLE_DEVICES"

_DRIVER_FILE = "/proc/driver/nvidia/version"
_DRIVER_FILE_VARIABLE = "BYOC_NVIDIA_VERSION_FILE"
_DEVICES = "/dev"
_DEVICES_VARIABLE = "BYOC_NVIDIA_DEVICES"
_CPUINFO = Path("/proc/cpuinfo")
_VERSION = re.compile(r"(?<![\w.])\d+(?:\.\d+)+(?![\w.])")

_QUOTA_V2 = "sys/fs/cgroup/cpu.max"
_QUOTA_V1 = "sys/fs/cgroup/cpu/cpu.cfs_quota_us"
_PERIOD_V1 = "sys/fs/cgroup/cpu/cpu.cfs_period_us"

# Seconds that cores have worked, in the unit that follows: cgroup-v2.rst and cpuacct.rst of the kernel's documentation.
_BUSY_V2 = Path("/sys/fs/cgroup/cpu.stat")
_BUSY_V1 = (Path("/sys/fs/cgroup/cpuacct/cpuacct.usage"), Path("/sys/fs/cgroup/cpu,cpuacct/cpuacct.usage"))
_NANOSECONDS = 1e-9
_MICROSECONDS = 1e-6

# Values of ONEDNN_MAX_CPU_ISA; below AVX512, OpenVINO cannot even compile some networks in bfloat16.
_ISAS_WITHOUT_BFLOAT16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI")

SPINS = "1000"  # about 50 µs, a few times the time in which a sleeping thread wakes


def available_cores(root: Path = Path("/")) -> int:
    """The cores that this process may use: its affinity, and its container's share (`docker run --cpus`).

    `os.cpu_count` counts the whole machine, and that many threads slow each other down in a small share.
    """
    affinity = len(os.sched_getaffinity(0))
    return max(1, min(affinity, round(_cpu_quota(root) or affinity)))


def share_of_cores(cores: int, workers: int) -> int:
    """How many of the machine's cores one of its workers may use at once."""
    return max(1, cores // max(1, workers))


def busy_seconds(v2: Path = _BUSY_V2, v1: Sequence[Path] = _BUSY_V1) -> float:
    """Seconds that cores have worked for this container; for the whole machine if there is no container."""
    words = _words(v2)
    if "usage_usec" in words[::2]:
        return int(words[2 * words[::2].index("usage_usec") + 1]) * _MICROSECONDS
    for path in v1:
        if words := _words(path):
            return int(words[0]) * _NANOSECONDS
    import psutil  # in no container that knows control groups

    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


def visible_gpus(environment: Mapping[str, str], devices: Path | None = None) -> int:
    """The number of NVIDIA GPUs in this container, without those that CUDA_VISIBLE_DEVICES hides."""
    return len(gpu_names(environment, devices))


def gpu_names(environment: Mapping[str, str], devices: Path | None = None) -> tuple[str, ...]:
    """The visible GPUs, as CUDA_VISIBLE_DEVICES names them: by their number, or by an identifier."""
    devices = devices or Path(environment.get(_DEVICES_VARIABLE) or _DEVICES)
    present = sum(1 for path in devices.glob("nvidia*") if path.name.removeprefix("nvidia").isdigit())
    chosen = environment.get(GPU_VARIABLE)
    names = map(str, range(present)) if chosen is None else map(str.strip, chosen.split(","))
    return tuple(name for name in names if name not in ("", "-1"))[:present]


def driver_version(environment: Mapping[str, str]) -> str | None:
    """The version of the kernel's NVIDIA driver, as `535.183.01`; None without a driver."""
    file = Path(environment.get(_DRIVER_FILE_VARIABLE) or _DRIVER_FILE)
    try:
        first_line = file.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
    except OSError:
        return None
    found = _VERSION.search(first_line)
    return found[0] if found else None


def has_amx_bfloat16(cpuinfo: Path = _CPUINFO) -> bool:
    """Whether the processor has AMX for bfloat16, which is then several times faster than float32."""
    return "amx_bf16" in _cpu_flags(cpuinfo)


def has_bfloat16(cpuinfo: Path = _CPUINFO) -> bool:
    """Whether the processor has instructions for bfloat16: AMX or AVX512-BF16 on x86, BF16 on ARM.

    With AVX512-BF16 alone (Zen 4 and 5, Cooper Lake, virtual machines that hide AMX) and on ARM, bfloat16 is faster
    than float32 on some processors and slower on others: only measuring tells. oneDNN, which computes PyTorch's and
    OpenVINO's convolutions, may be kept from using them.
    """
    if os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() in _ISAS_WITHOUT_BFLOAT16:
        return False
    return not _cpu_flags(cpuinfo).isdisjoint(("amx_bf16", "avx512_bf16", "bf16"))


def _cpu_flags(cpuinfo: Path) -> set[str]:
    """Of the first core. Linux lists `flags` on x86 and `Features` on ARM; empty anywhere else."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    return set(next((line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features"))), []))


def sleep_between_regions() -> None:
    """Let OpenMP's threads go to sleep early. torch reads this setting on import, so call it before.

    By default they spin for milliseconds after each parallel region, waiting for the next one. That takes the cores
    that decode images, and uses up a container's share of cores (`docker run --cpus`). A setting of the user is kept.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


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
