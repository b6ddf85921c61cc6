"""Cores and GPUs as a container sees them, from made-up files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from byoc_vision.system.machine import available_cores, visible_gpus

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
