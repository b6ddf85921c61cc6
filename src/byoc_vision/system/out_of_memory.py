"""Errors that say that memory ran out, recognised without importing the libraries that raise them."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator

# Libraries say it in many ways; torch also as a "CUDA error", for memory outside of its pool.
_MESSAGE = re.compile(
    r"can't allocate memory|cannot allocate memory|out of memory|insufficient memory|bad_alloc|failed to allocate"
    r"|CUBLAS_STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)
_GPU = re.compile(r"CUDA|CUBLAS|CUDNN")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or one behind it, says that memory ran out, of the GPU or of the machine."""
    return any(_says_so(cause) for cause in causes(error))


def is_of_gpu(error: BaseException) -> bool:
    """Whether an error for which `is_out_of_memory` holds is of the GPU's memory."""
    return any(_says_so(cause) and _GPU.search(str(cause)) is not None for cause in causes(error))


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error, the one behind it, and so on."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def has_class(error: BaseException, name: str) -> bool:
    """Whether the error is of a class of that name, or of one derived from it."""
    return any(kind.__name__ == name for kind in type(error).__mro__)


def _says_so(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or has_class(error, "OutOfMemoryError"):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, Exception) and _MESSAGE.search(str(error)) is not None
