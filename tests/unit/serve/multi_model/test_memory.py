"""Room for models: what they are taken to need, and what says that there was none."""

from __future__ import annotations

import ctypes
import errno
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from byoc_serve.errors import is_out_of_memory
from byoc_serve.multi_model.memory import PEAK, SPARE, bytes_needed, check_container, check_room, give_back
from byoc_vision.errors import DataError, RequestError

TOO_MUCH = 2**50  # bytes; no machine has them


def test_a_model_needs_a_multiple_of_its_weights_wherever_they_lie(tmp_path: Path) -> None:
    (tmp_path / "nested").mkdir()
    (tmp_path / "nested/model.safetensors").write_bytes(bytes(1_000_000))
    (tmp_path / "model.json").write_text("{}")
    assert bytes_needed(tmp_path) == int(PEAK * 1_000_000) + SPARE  # torch is here: the libraries are paid for
    check_container(bytes_needed(tmp_path))


def test_a_lack_is_told_in_numbers() -> None:
    check_room(100, None, "memory")
    check_room(100, 100, "memory")
    with pytest.raises(RequestError, match=r"about 500 MB of memory, and 200 MB are free") as raised:
        check_room(500_000_000, 200_000_000, "memory")
    assert raised.value.status == 507
    with pytest.raises(RequestError):
        check_container(TOO_MUCH)


def test_real_libraries_that_find_no_memory_are_understood() -> None:
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


def test_so_are_a_gpu_s_and_the_system_s() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert is_out_of_memory(OSError(errno.ENOMEM, "Cannot allocate memory"))
    error = DataError("the weights cannot be read")
    error.__cause__ = MemoryError()
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), OSError(errno.ENOENT, "x"), KeyError("memory")])
def test_other_errors_are_other_errors(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_memory_goes_back_to_the_system() -> None:
    def resident() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))

    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]
    # Pieces too small to be mapped one by one; the last one, which stays, would keep the others from going back.
    pieces = [libc.malloc(60_000) for _ in range(1000)]
    for piece in pieces:
        ctypes.memset(piece, 1, 60_000)
    full = resident()
    for piece in pieces[:-1]:
        libc.free(piece)
    give_back()
    libc.free(pieces[-1])
    assert resident() < full - 40_000_000


LARGE_IN_A_THREAD = """
import threading
from pathlib import Path
import numpy as np
from byoc_serve.multi_model.memory import give_back, keep_one_heap

def held():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))

meeting = threading.Barrier(5)

def use():
    np.ones(30_000_000, np.uint8)  # from now on malloc takes pieces of up to that size from its heaps
    meeting.wait()
    pieces = [np.ones(1_000_000, np.uint8) for _ in range(30)]
    del pieces
    meeting.wait()
    meeting.wait()

keep_one_heap()
before = held()
for _ in range(4):
    threading.Thread(target=use, daemon=True).start()
meeting.wait()
meeting.wait()
give_back()
print(held() - before)
"""


def test_so_does_what_threads_used() -> None:
    done = subprocess.run([sys.executable, "-c", LARGE_IN_A_THREAD], stdout=subprocess.PIPE, text=True, check=True)
    assert int(done.stdout) < 4_000  # kB
