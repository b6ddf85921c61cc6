"""What an error of the model means for its request and for the process.

Errors are recognised by their names and texts: importing torch for its classes takes seconds, and a server on OpenVINO
has no torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from byoc_serve.batch import ClientGoneError, DeadlineError, FatalError, QueueClosedError, QueueFullError
from byoc_vision.errors import RequestError
from byoc_vision.system.memory import is_out_of_memory

CLIENT_GONE = 499  # nginx's status for it; no client reads it, but the log and the metrics show it

# A CUDA context that has seen one of these fails every later call.
# Source: "CUDA Runtime API", cudaErrorIllegalAddress: "This leaves the process in an inconsistent state".
_CONTEXT_LOST = ("CUDA error", "device-side assert", "CUDNN_STATUS_EXECUTION_FAILED", "CUBLAS_STATUS_EXECUTION_FAILED")


def is_fatal(error: BaseException) -> bool:
    """Whether the GPU is lost to this process, so that another process has to take its place."""
    if is_out_of_memory(error):
        return False
    names = {kind.__name__ for kind in type(error).__mro__}
    return "AcceleratorError" in names or any(words in str(error) for words in _CONTEXT_LOST)


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
    """Raises RequestError in place of an error that a client can expect; internal errors stay what they are."""
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
    except ClientGoneError as error:
        raise RequestError(CLIENT_GONE, "the client closed the connection before its turn came") from error
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise RequestError(507, "memory does not suffice for this image; try again when the load is lower") from error
