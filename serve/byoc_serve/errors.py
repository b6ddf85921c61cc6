"""What an error of the model means for its request and for the process, known by name.

By name, because importing torch to ask for its classes takes seconds, and a server on OpenVINO has none.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from byoc_serve.batcher import DeadlineError, FatalError, QueueClosedError, QueueFullError, UnwantedError
from byoc_vision.errors import RequestError

# nginx's number for it. Nobody reads this answer, but the log and the figures have it.
CLIENT_GONE = 499

# Libraries say it in many ways; torch also as a "CUDA error", of what lies outside of its pool.
_OUT_OF_MEMORY = re.compile(
    r"can't allocate memory|cannot allocate memory|out of memory|insufficient memory|bad_alloc|failed to allocate"
    r"|CUBLAS_STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)
# A CUDA context that has seen one of these fails whatever is asked of it from then on.
# Source: "CUDA Runtime API", cudaErrorIllegalAddress: "This leaves the process in an inconsistent state".
_CONTEXT_LOST = ("CUDA error", "device-side assert", "CUDNN_STATUS_EXECUTION_FAILED", "CUBLAS_STATUS_EXECUTION_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether there was not enough memory, of the GPU or of the machine: less may work."""
    return any(_says_out_of_memory(cause) for cause in _causes(error))


def is_fatal(error: BaseException) -> bool:
    """Whether the GPU is lost to this process, which only another process can mend."""
    if is_out_of_memory(error):
        return False
    return _has_class(error, "AcceleratorError") or any(words in str(error) for words in _CONTEXT_LOST)


@contextmanager
def raise_fatal_errors() -> Iterator[None]:
    """Raises FatalError in place of an error after which the process can compute nothing."""
    try:
        yield
    except Exception as error:
        if isinstance(error, RequestError) or not is_fatal(error):
            raise
        first_line = str(error).strip().partition("\n")[0]
        raise FatalError(f"the GPU failed: {first_line}") from error


@contextmanager
def as_request_errors(timeout: int) -> Iterator[None]:
    """Raises RequestError in place of whatever keeps a request from its answer; bugs stay what they are."""
    try:
        yield
    except RequestError:
        raise
    except QueueFullError as error:
        raise RequestError(503, "too many requests are waiting already; try again soon") from error
    except QueueClosedError as error:
        raise RequestError(503, "the server is stopping") from error
    except FatalError as error:
        raise RequestError(503, f"{error}; the server ends, and another takes its place; try again") from error
    except DeadlineError as error:
        raise RequestError(504, f"the model had no time for this within {timeout} s; try again") from error
    except UnwantedError as error:
        raise RequestError(CLIENT_GONE, "the client closed the connection before its turn came") from error
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise RequestError(507, "memory does not suffice for this image; try again when the load is lower") from error


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _says_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, RequestError):  # in whatever words, it is the caller's matter
        return False
    if isinstance(error, MemoryError) or _has_class(error, "OutOfMemoryError"):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, Exception) and _OUT_OF_MEMORY.search(str(error)) is not None


def _has_class(error: BaseException, name: str) -> bool:
    return any(kind.__name__ == name for kind in type(error).__mro__)
