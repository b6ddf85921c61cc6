"""Memory or disk that ran out, explained with what to change."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from byoc_vision.atomic_write import free_bytes
from byoc_vision.errors import ResourceError
from byoc_vision.system.memory import is_out_of_memory

_LOADER_DIED = re.compile(
    r"DataLoader worker \(pid\(?s?\)? ?[\d, ]+\) (is killed by signal: (?P<signal>[\w ]+)|exited)"
)
_OF_GPU = re.compile(r"CUDA|CUBLAS|CUDNN|NCCL|find an engine|pin memory thread", re.IGNORECASE)
_NCCL_SHARED_MEMORY = re.compile(r"NCCL.*shared memory segment", re.DOTALL)
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def explained(batch_size: int) -> Iterator[None]:
    """Raises ResourceError with the remedy, in place of an error that says memory, shared memory or disk ran out."""
    try:
        yield
    except (RuntimeError, MemoryError, OSError) as error:
        explanation = explain(error, batch_size)
        if explanation is None:
            raise
        raise explanation from error


def explain(error: BaseException, batch_size: int) -> ResourceError | None:
    """What ran out and what to do about it; None if the error is another one."""
    out_of_memory = is_out_of_memory(error)
    if out_of_memory and _OF_GPU.search(str(error)):
        smaller = max(1, batch_size // 2)
        return ResourceError(
            f"the GPU's memory does not suffice for batch_size={batch_size}; take batch_size={smaller} with "
            "accumulate_steps=2, which learns the same, or auto_batch_size=true, or a smaller image_size "
            f"({_first_line(error)})"
        )
    if out_of_memory:
        return ResourceError(
            f"memory does not suffice for batch_size={batch_size}; take a smaller batch_size, a smaller image_size, "
            f"fewer num_workers, or an instance with more memory ({_first_line(error) or type(error).__name__})"
        )
    if _NCCL_SHARED_MEMORY.search(str(error)):
        return ResourceError(
            "shared memory is full, through which the processes of a host exchange gradients; start the container with "
            f"more (--shm-size 1g) ({_first_line(error)})"
        )
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        return ResourceError(f"{_place(error)}the disk is full ({error.strerror}); give the job a larger volume")
    if match := _LOADER_DIED.search(str(error)):
        return _loader_died(match["signal"] or "", _first_line(error))
    return None


def _place(error: OSError) -> str:
    """The file and the free bytes of its disk, if the error names one."""
    if not isinstance(error.filename, str):
        return ""
    free = free_bytes(Path(error.filename))
    return f"{error.filename}: " if free is None else f"{error.filename} ({free:,} bytes are free): "


def _loader_died(signal: str, said: str) -> ResourceError:
    if signal.startswith("Bus error"):
        return ResourceError(
            "shared memory is full, and a process that reads images died of it; start the container with more "
            f"(--shm-size 1g), or set num_workers=0 ({said})"
        )
    return ResourceError(
        "a process that reads images was killed, mostly by the kernel for lack of memory; take fewer num_workers, a "
        f"smaller batch_size, or an instance with more memory ({said})"
    )


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
