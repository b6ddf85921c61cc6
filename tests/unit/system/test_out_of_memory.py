"""Errors that say that memory ran out."""

from __future__ import annotations

import errno

import cv2
import numpy as np
import pytest
import torch

from byoc_vision.errors import DataError
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
