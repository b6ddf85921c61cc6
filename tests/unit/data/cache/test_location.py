from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from byoc_vision.data.cache.location import choose_place


def test_half_of_the_free_memory_is_taken_unless_asked_otherwise(tmp_path: Path) -> None:
    auto = choose_place("auto", memory=1_000_000, disk=tmp_path)
    assert auto is not None
    assert (auto.folder, auto.capacity) == (tmp_path, 500_000)
    disk = choose_place("disk", memory=1_000_000, disk=tmp_path)
    assert disk is not None
    assert disk.capacity == pytest.approx(shutil.disk_usage(tmp_path).free / 2, rel=0.1)
    memory = choose_place("memory", memory=1_000_000, disk=tmp_path / "other", shared_memory=tmp_path)
    assert memory == auto
    exact = choose_place("auto", 0.002, memory=1_000_000, disk=tmp_path)
    assert exact is not None
    assert exact.capacity == 2_000_000
    assert choose_place("off", 5.0, memory=1_000_000, disk=tmp_path) is None


def test_never_more_than_the_disk_has(tmp_path: Path) -> None:
    place = choose_place("disk", 1e9, memory=None, disk=tmp_path)
    assert place is not None
    assert place.capacity <= shutil.disk_usage(tmp_path).total
    unlimited = choose_place("auto", memory=10**18, disk=tmp_path)
    assert unlimited is not None
    assert unlimited.capacity <= shutil.disk_usage(tmp_path).total / 2


def test_where_there_is_no_such_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert choose_place("memory", memory=1_000_000, shared_memory=tmp_path / "none") is None
    assert "cache=memory" in caplog.text
