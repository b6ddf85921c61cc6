from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from byoc_vision.data.cache import CacheFolder, choose_place


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


def test_if_there_is_no_such_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert choose_place("memory", memory=1_000_000, shared_memory=tmp_path / "none") is None
    assert "cache=memory" in caplog.text


def test_the_last_user_removes_it(tmp_path: Path) -> None:
    one, other = CacheFolder(tmp_path, "a"), CacheFolder(tmp_path, "a")
    (one.path / "data").write_bytes(b"content")
    assert one.path == other.path
    one.close()
    assert (other.path / "data").exists()
    other.close()
    assert not other.path.exists()


def test_what_a_killed_job_left_is_found_again_or_removed(tmp_path: Path) -> None:
    root = CacheFolder(tmp_path, "a").root
    for key in ("b", "c"):
        (root / key).mkdir()
        (root / key / "data").write_bytes(b"content")
    again = CacheFolder(tmp_path, "b")
    assert (again.path / "data").read_bytes() == b"content"
    assert sorted(path.name for path in root.iterdir() if path.is_dir()) == ["a", "b"], "a is in use"


def test_another_jobs_folder_stays(tmp_path: Path) -> None:
    running = CacheFolder(tmp_path, "a")
    CacheFolder(tmp_path, "b").close()
    assert running.path.exists()


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    assert CacheFolder(tmp_path, "a").root.stat().st_mode & 0o077 == 0
