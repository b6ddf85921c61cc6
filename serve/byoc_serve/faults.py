"""What an error of the model means for its request and for the process, known by name.

By name, because importing torch to ask for its classes takes seconds, and a server on OpenVINO has none.
"""

from __future__ import annotations

from byoc_serve.batcher import DeadlineError, FatalError, QueueClosedError, QueueFullError, UnwantedError
from byoc_vision.errors import RequestError

# nginx's number for it. Nobody reads this answer, but the log and the figures have it.
CLIENT_GONE = 499

# What torch and cuBLAS say where memory is short; torch also as a "CUDA error", of what lies outside of its pool.
_OUT_OF_MEMORY = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "DefaultCPUAllocator: can't allocate memory")
# A CUDA context that has seen one of these fails whatever is asked of it from then on.
# Source: "CUDA Runtime API", cudaErrorIllegalAddress: "This leaves the process in an inconsistent state".
_CONTEXT_LOST = ("CUDA error", "device-side assert", "CUDNN_STATUS_EXECUTION_FAILED", "CUBLAS_STATUS_EXECUTION_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether there was not enough memory, of the GPU or of the machine: less may work."""
    if isinstance(error, MemoryError) or _has_class(error, "OutOfMemoryError"):
        return True
    return any(words in str(error) for words in _OUT_OF_MEMORY)


def is_fatal(error: BaseException) -> bool:
    """Whether the GPU is lost to this process, which only another process can mend."""
    if is_out_of_memory(error):
        return False
    return _has_class(error, "AcceleratorError") or any(words in str(error) for words in _CONTEXT_LOST)


def as_fatal(error: Exception) -> FatalError | None:
    """The error as one after which the process can compute nothing; None where it is another."""
    if isinstance(error, FatalError):
        return error
    first_line = str(error).strip().partition("\n")[0]
    return FatalError(f"the GPU failed: {first_line}") if is_fatal(error) else None


def as_refusal(error: Exception, timeout: int) -> RequestError | None:
    """What the caller is told; None where it is a bug. timeout: the seconds that a request waits for the model."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, QueueFullError):
        return RequestError(503, "too many requests are waiting already; try again soon")
    if isinstance(error, QueueClosedError):
        return RequestError(503, "the server is stopping")
    if isinstance(error, FatalError):
        return RequestError(503, f"{error}; the server ends, and another takes its place; try again")
    if isinstance(error, DeadlineError):
        return RequestError(504, f"the model had no time for this within {timeout} s; try again")
    if isinstance(error, UnwantedError):
        return RequestError(CLIENT_GONE, "the client closed the connection before its turn came")
    if is_out_of_memory(error):
        return RequestError(507, "memory does not suffice for this picture; try again when the load is lower")
    return None


def _has_class(error: BaseException, name: str) -> bool:
    return any(kind.__name__ == name for kind in type(error).__mro__)
