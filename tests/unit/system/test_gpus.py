"""GPU drivers, by made-up driver files."""

from __future__ import annotations

from pathlib import Path

import pytest

from byoc_vision.errors import ResourceError
from byoc_vision.system.gpus import Gpus, check_driver, find_gpus
from byoc_vision.system.machine import driver_version

LINE = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  {version}  Sun May 12 19:39:15 UTC 2024\nGCC version:  gcc 7.3"
OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {version}  Release Build  (dvs-builder@U22)\n"


@pytest.mark.parametrize("text", [LINE, OPEN])
@pytest.mark.parametrize("version", ["470.256.02", "535.183.01", "580.65"])
def test_the_drivers_version(tmp_path: Path, text: str, version: str) -> None:
    (tmp_path / "version").write_text(text.format(version=version))
    assert driver_version({"BYOC_NVIDIA_VERSION_FILE": str(tmp_path / "version")}) == version


def test_no_driver(tmp_path: Path) -> None:
    assert driver_version({"BYOC_NVIDIA_VERSION_FILE": str(tmp_path / "missing")}) is None
    (tmp_path / "version").write_text("something else")
    assert driver_version({"BYOC_NVIDIA_VERSION_FILE": str(tmp_path / "version")}) is None
    gpus = find_gpus({"BYOC_NVIDIA_VERSION_FILE": str(tmp_path / "missing")})
    assert str(gpus).startswith("no GPU; torch ")
    assert check_driver(gpus, allow_cpu_fallback=False) is None


def found(tmp_path: Path, version: str, cuda: str | None = "13.2", compat: str | None = None) -> Gpus:
    (tmp_path / "version").write_text(LINE.format(version=version))
    environment = {"BYOC_NVIDIA_VERSION_FILE": str(tmp_path / "version"), "BYOC_CUDA_COMPAT_DIR": str(tmp_path)}
    if compat:
        (tmp_path / f"libcuda.so.{compat}").touch()
        environment["LD_LIBRARY_PATH"] = f"/usr/lib:{tmp_path}"
    return find_gpus(environment, cuda)


@pytest.mark.parametrize(
    ("version", "cuda", "ami"),
    [
        ("470.256.02", "13.2", "al2023-ami-sagemaker-inference-gpu-4-1"),
        ("535.183.01", "13.2", "al2023-ami-sagemaker-inference-gpu-4-1"),
        ("470.256.02", "12.4", "al2-ami-sagemaker-inference-gpu-2-1"),
    ],
)
def test_too_old_a_driver_is_named_with_what_would_do(tmp_path: Path, version: str, cuda: str, ami: str) -> None:
    gpus = found(tmp_path, version, cuda)
    assert str(gpus) == f"GPU driver {version}, CUDA {cuda}; GPUs: none that can be used"
    with pytest.raises(ResourceError, match=rf"the GPU driver {version} is too old for CUDA {cuda}, which needs \d+"):
        check_driver(gpus, allow_cpu_fallback=False)
    with pytest.raises(ResourceError, match=f'InferenceAmiVersion="{ami}"'):
        check_driver(gpus, allow_cpu_fallback=False, serving=True)
    assert "using the CPU" in (check_driver(gpus, allow_cpu_fallback=True) or "")


def test_a_compat_library_that_does_not_help_is_named(tmp_path: Path) -> None:
    gpus = found(tmp_path, "470.256.02", compat="595.45.04")
    assert "compat library 595.45.04" in str(gpus)
    with pytest.raises(ResourceError, match=r"the compat library 595\.45\.04 does not help this GPU"):
        check_driver(gpus, allow_cpu_fallback=False)


@pytest.mark.parametrize(("version", "cuda"), [("580.65.06", "13.2"), ("595.1", "13.2"), ("470.256.02", None)])
def test_a_driver_that_is_new_enough_or_not_needed(tmp_path: Path, version: str, cuda: str | None) -> None:
    assert check_driver(found(tmp_path, version, cuda), allow_cpu_fallback=False) is None


def test_a_gpu_that_works_is_not_questioned() -> None:
    gpus = Gpus("470.256.02", "13.2", "595.45.04", ("Tesla T4 (15 GiB, compute capability 7.5)",))
    assert check_driver(gpus, allow_cpu_fallback=False) is None
    assert str(gpus).endswith("compat library 595.45.04; GPUs: Tesla T4 (15 GiB, compute capability 7.5)")
