"""Errors that say that memory ran out."""

from __future__ import annotations

import errno

import cv2
import numpy as np
import pytest
import torch

from byoc_serve.errors import is_fatal
from byoc_vision.errors import DataError
from byoc_vision.launch.oom import explain
from byoc_vision.system.memory import is_out_of_memory

TOO_MUCH = 2**50  # bytes; no machine has them


def test_errors_of_real_libraries_are_recognised() -> None:
    def by_torch() -> None:
        torch.empty(TOO_MUCH, dtype=torch.uint8)

    def by_numpy() -> None:
        np.empty(TOO_MUCH, dtype=np.uint8)

    def by_opencv() -> None:
        cv2.resize(np.zeros((1, 1), np.float64), (2**23, 2**23))

    def by_python() -> None:
        bytearray(TOO_MUCH)

    for allocate in (by_torch, by_numpy, by_opencv, by_python):
        with pytest.raises(Exception) as raised:  # noqa: PT011 - which one it is is the question
            allocate()
        assert is_out_of_memory(raised.value), raised.value


def test_errors_of_a_gpu_and_of_the_system_are_recognised() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert is_out_of_memory(OSError(errno.ENOMEM, "Cannot allocate memory"))
    error = DataError("the weights cannot be read")
    error.__cause__ = MemoryError()
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), OSError(errno.ENOENT, "x"), KeyError("memory")])
def test_other_errors_are_not(error: Exception) -> None:
    assert not is_out_of_memory(error)


# As PyTorch, cuDNN, cuBLAS and NCCL spell it.
SPELLINGS = [
    "GET was unable to find an engine to execute this computation",
    "FIND was unable to find an engine to execute this computation",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
    "NCCL Error 1: unhandled cuda error\nncclUnhandledCudaError: Call failed.\nCuda failure 2 'out of memory'",
    "Caught OutOfMemoryError in pin memory thread for device 0.\nOriginal Traceback",
    "Pin memory thread exited unexpectedly",
]


@pytest.mark.parametrize("said", SPELLINGS)
def test_each_spelling_of_a_gpu_without_memory_is_recognised_in_training_and_serving(said: str) -> None:
    error = RuntimeError(said)
    assert is_out_of_memory(error)
    assert not is_fatal(error)
    explained = explain(error, batch_size=16)
    assert explained is not None
    assert "the GPU's memory does not suffice for batch_size=16; take batch_size=8" in str(explained)


@pytest.mark.parametrize("said", ["no kernel image is available for execution on the device", "invalid device ordinal"])
def test_other_errors_of_a_gpu_are_not(said: str) -> None:
    assert not is_out_of_memory(RuntimeError(f"CUDA error: {said}"))
    assert explain(RuntimeError(f"CUDA error: {said}"), 16) is None


def test_shared_memory_that_nccl_lacks_is_named() -> None:
    said = (
        "NCCL error in: x, unhandled system error\nError while creating shared memory segment /dev/shm/nccl-a (size 3)"
    )
    assert "--shm-size" in str(explain(RuntimeError(said), 16))


def test_an_error_that_is_its_own_cause() -> None:
    """`raise error from error`, in a script of the user's own."""
    error = RuntimeError("of the script")
    error.__cause__ = error
    assert not is_out_of_memory(error)
