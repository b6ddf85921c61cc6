from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from byoc_vision.data.cache.place import choose_place, free_memory

GIB = 2**30


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_the_memory_of_a_bare_machine(tmp_path: Path) -> None:
    facts = tmp_path / "meminfo"
    facts.write_text("MemTotal:       24000000 kB\nMemAvailable:   20881428 kB\nHugePages_Total:       0\n")
    assert free_memory(facts, tmp_path) == 20_881_428 * 1024


def test_a_container_has_what_its_limit_leaves_and_its_files_give_up(tmp_path: Path) -> None:
    facts = tmp_path / "meminfo"
    facts.write_text(f"MemAvailable: {20 * GIB // 1024} kB\n")
    group = write(
        tmp_path / "v2",
        memory_dot_max=f"{8 * GIB}\n",
        memory_dot_current=f"{5 * GIB}\n",
        memory_dot_stat=f"anon 9\ninactive_file {2 * GIB}\nactive_file 7\n",
    )
    assert free_memory(facts, group) == 5 * GIB
    write(group, memory_dot_max="max\n")
    assert free_memory(facts, group) == 20 * GIB
    older = write(
        tmp_path / "v1",
        memory__memory_dot_limit_in_bytes=f"{4 * GIB}\n",
        memory__memory_dot_usage_in_bytes=f"{3 * GIB}\n",
        memory__memory_dot_stat=f"inactive_file 1\ntotal_inactive_file {GIB}\n",
    )
    assert free_memory(facts, older) == 2 * GIB


def test_a_system_that_does_not_tell(tmp_path: Path) -> None:
    assert free_memory(tmp_path / "none", tmp_path / "none") is None


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
