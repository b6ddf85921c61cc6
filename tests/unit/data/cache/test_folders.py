from __future__ import annotations

from pathlib import Path

from byoc_vision.data.cache.folders import CacheFolder


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


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    assert CacheFolder(tmp_path, "a").root.stat().st_mode & 0o077 == 0
