"""Room for models: what they are taken to need, and what says that there was none."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from byoc_serve.memory import (
    PEAK,
    SPARE,
    bytes_needed,
    check_container,
    check_room,
    free_on_gpu,
    others_help,
    release_unused,
)
from byoc_vision.errors import RequestError

TOO_MUCH = 2**50  # bytes; no machine has them


def test_a_model_needs_a_multiple_of_its_weights_wherever_they_lie(tmp_path: Path) -> None:
    (tmp_path / "nested").mkdir()
    (tmp_path / "nested/model.safetensors").write_bytes(bytes(1_000_000))
    (tmp_path / "model.json").write_text("{}")
    assert bytes_needed(tmp_path) == int(PEAK * 1_000_000) + SPARE  # torch is here: the libraries are paid for
    check_container(bytes_needed(tmp_path))


def test_too_little_memory_is_reported_in_numbers() -> None:
    check_room(100, None, "memory")
    check_room(100, 100, "memory")
    with pytest.raises(RequestError, match=r"about 500 MB of memory, and 200 MB are free") as raised:
        check_room(500_000_000, 200_000_000, "memory")
    assert raised.value.status == 507


def test_what_never_fits_makes_sagemaker_unload_nothing() -> None:
    with pytest.raises(RequestError, match=r"and there are 400 MB in total; use a larger instance") as raised:
        check_room(500_000_000, 200_000_000, "memory", total=400_000_000)
    assert raised.value.status == 400
    with pytest.raises(RequestError) as raised:
        check_room(300_000_000, 200_000_000, "memory", total=400_000_000)
    assert raised.value.status == 507
    with pytest.raises(RequestError) as raised:
        check_container(TOO_MUCH)
    assert raised.value.status == 400


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
    release_unused()
    libc.free(pieces[-1])
    assert resident() < full - 40_000_000


LARGE_IN_A_THREAD = """
import threading
from pathlib import Path
import numpy as np
from byoc_serve.memory import release_unused, keep_one_heap

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
release_unused()
print(held() - before)
"""


def test_so_does_what_threads_used() -> None:
    done = subprocess.run([sys.executable, "-c", LARGE_IN_A_THREAD], stdout=subprocess.PIPE, text=True, check=True)
    assert int(done.stdout) < 4_000  # kB


def test_torchs_cache_on_a_gpu_is_room_for_the_next_model() -> None:
    """torch keeps what requests have freed; the driver counts it as taken."""
    assert free_on_gpu(unused=1_000, reserved=13_000, allocated=2_000) == 12_000
    assert free_on_gpu(unused=1_000, reserved=0, allocated=0) == 1_000


@pytest.mark.parametrize(
    ("error", "free", "expected"),
    [
        (MemoryError(), 10, True),
        (MemoryError(), 90, False),  # nearly all was free
        (RuntimeError("can't allocate memory: you tried to allocate 50 bytes. Error code 12"), 10, True),
        (RuntimeError("can't allocate memory: you tried to allocate 101 bytes. Error code 12"), 10, False),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB"), 90, True),  # of another memory
        (MemoryError(), None, True),
    ],
)
def test_unloading_others_helps_if_they_hold_what_is_needed(error: Exception, free: int | None, expected: bool) -> None:
    assert others_help(error, free, 100) is expected
