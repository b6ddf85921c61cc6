"""Cores, GPUs and the CPU's flags as a container sees them, from made-up files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from byoc_vision.system.machine import available_cores, gpu_names, has_amx_bfloat16, has_bfloat16, visible_gpus

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
    ("environment", "names"),
    [
        ({}, ("0", "1")),
        ({"CUDA_VISIBLE_DEVICES": "1"}, ("1",)),
        ({"CUDA_VISIBLE_DEVICES": "1, 0"}, ("1", "0")),
        ({"CUDA_VISIBLE_DEVICES": ""}, ()),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, ()),
        ({"CUDA_VISIBLE_DEVICES": "GPU-5eb"}, ("GPU-5eb",)),
        ({"CUDA_VISIBLE_DEVICES": "0,1,2,3"}, ("0", "1")),
    ],
)
def test_gpus_are_found_by_their_devices(tmp_path: Path, environment: dict[str, str], names: tuple[str, ...]) -> None:
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"):
        write(tmp_path / name, "")
    assert gpu_names(environment, tmp_path) == names
    assert visible_gpus(environment, tmp_path) == len(names)


@pytest.mark.parametrize(
    ("flags", "amx", "any_bfloat16"),
    [
        ("fpu amx_tile amx_bf16 amx_int8 avx512_bf16", True, True),
        ("fpu vme avx2 avx512f avx512_vnni avx512_bf16", False, True),  # Zen 4
        ("fpu vme avx2", False, False),
        ("amx_bf16_not", False, False),
    ],
)
def test_the_flags_of_a_processor_say_whether_it_has_bfloat16(
    tmp_path: Path, flags: str, amx: bool, any_bfloat16: bool
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: {flags}\n\nprocessor\t: 1\n")
    assert has_amx_bfloat16(cpuinfo) is amx
    assert has_bfloat16(cpuinfo) is any_bfloat16


@pytest.mark.parametrize(
    ("isa", "expected"), [("AVX2", False), ("avx512_core_vnni", False), ("AVX512_CORE_BF16", True), ("", True)]
)
def test_onednn_may_be_kept_from_bfloat16(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, isa: str, expected: bool
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("flags\t\t: fpu avx512_bf16\n")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", isa)
    assert has_bfloat16(cpuinfo) is expected


def test_arm_lists_features_instead(tmp_path: Path) -> None:
    arm = tmp_path / "cpuinfo"
    arm.write_text("processor\t: 0\nFeatures\t: fp asimd bf16\n")
    assert has_bfloat16(arm) is True
    assert has_amx_bfloat16(arm) is False
    arm.write_text("processor\t: 0\nFeatures\t: fp asimd\n")
    assert has_bfloat16(arm) is False


def test_a_machine_that_tells_nothing_has_no_bfloat16(tmp_path: Path) -> None:
    assert has_amx_bfloat16(tmp_path / "missing") is False
    assert has_bfloat16(tmp_path / "missing") is False
