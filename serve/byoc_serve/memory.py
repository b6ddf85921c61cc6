"""Whether a model still fits into memory, and returning unused memory to the system."""

from __future__ import annotations

import ctypes
import gc
import re
import sys
from pathlib import Path

from byoc_vision.errors import RequestError
from byoc_vision.system.memory import free_memory, memory_limit

# Seen with ResNet-18, ResNet-50 and a U-Net while they were loaded: 2.2 to 2.4 times their weights and 25 MB; half of
# it is free again a moment later.
PEAK = 2.5
SPARE = 64 * 2**20  # bytes, for requests: their images and masks
LIBRARIES = 300 * 2**20  # bytes, once in a process

_NEARLY_ALL = 0.75
_ASKED = re.compile(r"tried to allocate (\d+) bytes")  # as torch says it

_M_ARENA_MAX = -8  # malloc.h


def bytes_needed(folder: Path) -> int:
    """The peak memory of loading the model in `folder`, or in one below it: its largest file holds its weights."""
    sizes = (path.stat().st_size for path in folder.rglob("*") if path.is_file())
    libraries = 0 if sys.modules.keys() & {"torch", "openvino"} else LIBRARIES
    return int(PEAK * max(sizes, default=0)) + SPARE + libraries


def check_room(needed: int, free: int | None, where: str, total: int | None = None) -> None:
    """Raises RequestError 507 if less than `needed` bytes are free; SageMaker then unloads another model.

    It raises 400 if there are not so many in `total`: unloading healthy models would not help.
    """
    if total is not None and needed > total:
        raise RequestError(
            400,
            f"the model needs about {megabytes(needed)} of {where}, and there are {megabytes(total)} in total; use a "
            "larger instance or a smaller model",
        )
    if free is not None and needed > free:
        raise RequestError(
            507,
            f"the model needs about {megabytes(needed)} of {where}, and {megabytes(free)} are free; unload another",
        )


def check_container(needed: int) -> None:
    """Raises RequestError: 507 if the container's free memory does not suffice, 400 if all of it would not."""
    check_room(needed, free_memory(), "memory", memory_limit())


def free_on_gpu(unused: int, reserved: int, allocated: int) -> int:
    """Bytes of a GPU that another model can have.

    unused: what the driver has left. reserved: what torch took from the driver; of it, tensors use `allocated`, and the
    rest is torch's cache, which the next model takes.
    """
    return unused + max(0, reserved - allocated)


def others_help(error: BaseException, free: int | None, total: int | None) -> bool:
    """Whether an allocation that failed with `free` of `total` bytes free may succeed once other models are unloaded.

    It may not if it is larger than all memory, or if nearly all memory was free.
    """
    if free is None or total is None or "CUDA" in str(error):
        return True  # unknown, or of a GPU
    asked = _ASKED.search(str(error))
    return not (asked and int(asked[1]) > total) and free < _NEARLY_ALL * total


def keep_one_heap() -> None:
    """Make all threads of this process share a heap; to be called before the first thread starts.

    glibc gives each thread a heap, and keeps up to 64 MB at its end that `release_unused` cannot return.
    """
    tune = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc alone has it
    if tune is not None:
        tune(_M_ARENA_MAX, 1)


def release_unused() -> None:
    """Return unused memory to the system, and a GPU's to its driver."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    trim_heap()


def trim_heap() -> None:
    """Return the allocator's unused pages to the system."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def megabytes(count: int) -> str:
    """Bytes as messages show them."""
    return f"{count / 1e6:,.0f} MB"
