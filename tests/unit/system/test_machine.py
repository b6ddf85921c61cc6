from __future__ import annotations

import os
from pathlib import Path

import pytest

from byoc_vision.system.machine import available_cores, free_memory, visible_gpus

MACHINE = len(os.sched_getaffinity(0))


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("100000 100000\n", 1),
        ("50000 100000\n", 1),  # half a core is still one thread
        ("max 100000\n", MACHINE),
        ("99900000 100000\n", MACHINE),
        ("nonsense\n", MACHINE),
    ],
)
def test_a_container_s_share_limits_the_cores(tmp_path: Path, text: str, cores: int) -> None:
    write(tmp_path / "sys/fs/cgroup/cpu.max", text)
    assert available_cores(tmp_path) == cores


@pytest.mark.parametrize(("quota", "cores"), [("100000", 1), ("-1", MACHINE)])
def test_so_does_the_older_form(tmp_path: Path, quota: str, cores: int) -> None:
    write(tmp_path / "sys/fs/cgroup/cpu/cpu.cfs_quota_us", quota)
    write(tmp_path / "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000")
    assert available_cores(tmp_path) == cores


def test_without_a_share_the_machine_is_ours(tmp_path: Path) -> None:
    assert available_cores(tmp_path) == MACHINE


@pytest.mark.parametrize(
    ("environment", "gpus"),
    [
        ({}, 2),
        ({"CUDA_VISIBLE_DEVICES": "1"}, 1),
        ({"CUDA_VISIBLE_DEVICES": ""}, 0),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, 0),
        ({"CUDA_VISIBLE_DEVICES": "0,1,2,3"}, 2),
    ],
)
def test_gpus_are_counted_by_their_devices(tmp_path: Path, environment: dict[str, str], gpus: int) -> None:
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"):
        write(tmp_path / name, "")
    assert visible_gpus(environment, tmp_path) == gpus


GIB = 2**30


def write_files(folder: Path, **files: str) -> Path:
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
    group = write_files(
        tmp_path / "v2",
        memory_dot_max=f"{8 * GIB}\n",
        memory_dot_current=f"{5 * GIB}\n",
        memory_dot_stat=f"anon 9\nfile_mapped {GIB}\ninactive_file {GIB}\nactive_file {2 * GIB}\n",
    )
    assert free_memory(facts, group) == 5 * GIB
    write_files(group, memory_dot_max="max\n")
    assert free_memory(facts, group) == 20 * GIB
    older = write_files(
        tmp_path / "v1",
        memory__memory_dot_limit_in_bytes=f"{4 * GIB}\n",
        memory__memory_dot_usage_in_bytes=f"{3 * GIB}\n",
        memory__memory_dot_stat=f"inactive_file 1\ntotal_inactive_file {GIB}\n",
    )
    assert free_memory(facts, older) == 2 * GIB


def test_a_system_that_does_not_tell(tmp_path: Path) -> None:
    assert free_memory(tmp_path / "none", tmp_path / "none") is None
