"""How many processes load images."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc_vision.data.workers import choose_workers, free_shared_memory

MEGABYTE = 2**20
PLENTY = 16 * 2**30


def chosen(
    *,
    batches: int = 100,
    batch_bytes: int = MEGABYTE,
    cores: int = 8,
    on_gpu: bool = True,
    shared_memory: int | None = PLENTY,
    requested: int | None = None,
) -> int:
    return choose_workers(
        batches=batches,
        batch_bytes=batch_bytes,
        cores=cores,
        on_gpu=on_gpu,
        shared_memory=shared_memory,
        requested=requested,
    )


def test_all_cores_beside_a_gpu_and_half_of_them_without() -> None:
    assert chosen(cores=8) == 8
    assert chosen(cores=8, on_gpu=False) == 4
    assert chosen(cores=1, on_gpu=False) == 0
    assert chosen(cores=192) == 16


def test_no_more_than_there_are_batches() -> None:
    assert chosen(batches=3) == 3
    assert chosen(batches=1) == 0
    assert chosen(batches=0) == 0


def test_what_is_asked_for_is_kept() -> None:
    assert chosen(requested=0) == 0
    assert chosen(requested=40, cores=2) == 40
    assert chosen(requested=40, batches=10) == 10


def test_little_shared_memory_bounds_them(caplog: pytest.LogCaptureFixture) -> None:
    assert chosen(shared_memory=64 * MEGABYTE, batch_bytes=3 * MEGABYTE) == 3
    assert "64 MB of shared memory are enough for 3 loader processes, not 8; give the container more" in caplog.text
    assert chosen(shared_memory=64 * MEGABYTE, batch_bytes=30 * MEGABYTE) == 0
    assert chosen(shared_memory=None, batch_bytes=30 * MEGABYTE) == 8


def test_enough_shared_memory_is_not_mentioned(caplog: pytest.LogCaptureFixture) -> None:
    assert chosen(shared_memory=64 * MEGABYTE) == 8
    assert not caplog.text


@given(
    st.integers(0, 1000),
    st.integers(1, 2**30),
    st.integers(1, 200),
    st.booleans(),
    st.none() | st.integers(0, 2**36),
    st.none() | st.integers(0, 64),
)
def test_the_number_always_fits(
    batches: int, batch_bytes: int, cores: int, on_gpu: bool, shared_memory: int | None, requested: int | None
) -> None:
    workers = chosen(
        batches=batches,
        batch_bytes=batch_bytes,
        cores=cores,
        on_gpu=on_gpu,
        shared_memory=shared_memory,
        requested=requested,
    )
    assert 0 <= workers <= batches
    assert requested is None or workers <= requested
    assert shared_memory is None or workers * 3 * batch_bytes <= shared_memory


def test_this_machine(tmp_path: Path) -> None:
    assert free_shared_memory(tmp_path / "gone") is None
    free = free_shared_memory(tmp_path) or 0
    assert free > 0
    assert (free_shared_memory(tmp_path, shared_by=4) or 0) == pytest.approx(free / 4, rel=0.1)
