"""GPU drivers, by made-up driver files."""

from __future__ import annotations

from pathlib import Path

import pytest

from byoc_vision.errors import ResourceError
from byoc_vision.system.gpus import Gpus, check_gpus, find_gpus, runs_on
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
    assert check_gpus(gpus, allow_cpu_fallback=False) is None


def found(tmp_path: Path, version: str, cuda: str | None = "13.2", compat: str | None = None) -> Gpus:
    (tmp_path / "version").write_text(LINE.format(version=version))
    (tmp_path / "nvidia0").touch()
    environment = {
        "BYOC_NVIDIA_VERSION_FILE": str(tmp_path / "version"),
        "BYOC_NVIDIA_DEVICES": str(tmp_path),
        "BYOC_CUDA_COMPAT_DIR": str(tmp_path),
    }
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
        check_gpus(gpus, allow_cpu_fallback=False)
    with pytest.raises(ResourceError, match=f'InferenceAmiVersion="{ami}"'):
        check_gpus(gpus, allow_cpu_fallback=False, serving=True)
    with pytest.raises(ResourceError, match='TransformAmiVersion="al2-ami-sagemaker-batch-gpu-535"'):
        check_gpus(gpus, allow_cpu_fallback=False, serving=True, transform=True)
    assert "using the CPU" in (check_gpus(gpus, allow_cpu_fallback=True) or "")


def test_a_compat_library_that_does_not_help_is_named(tmp_path: Path) -> None:
    gpus = found(tmp_path, "470.256.02", compat="595.45.04")
    assert "compat library 595.45.04" in str(gpus)
    with pytest.raises(ResourceError, match=r"the compat library 595\.45\.04 does not help this GPU"):
        check_gpus(gpus, allow_cpu_fallback=False)


def test_a_container_without_a_gpu_may_have_a_host_with_any_driver(tmp_path: Path) -> None:
    """The host's driver is visible in every container."""
    (tmp_path / "version").write_text(LINE.format(version="470.256.02"))
    (tmp_path / "devices").mkdir()
    environment = {
        "BYOC_NVIDIA_VERSION_FILE": str(tmp_path / "version"),
        "BYOC_NVIDIA_DEVICES": str(tmp_path / "devices"),
    }
    assert check_gpus(find_gpus(environment, "13.2"), allow_cpu_fallback=False) is None
    (tmp_path / "devices" / "nvidia0").touch()
    hidden = environment | {"CUDA_VISIBLE_DEVICES": ""}
    assert check_gpus(find_gpus(hidden, "13.2"), allow_cpu_fallback=False) is None
    with pytest.raises(ResourceError):
        check_gpus(find_gpus(environment, "13.2"), allow_cpu_fallback=False)


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        ("Unexpected error from cudaGetDeviceCount(). Error 802: system not yet initialized", "fabric manager"),
        ("Unexpected error from cudaGetDeviceCount(). Error 803: system has unsupported display", "BYOC_CUDA_COMPAT"),
        ("Unexpected error from cudaGetDeviceCount(). Error 804: forward compatibility was", "BYOC_CUDA_COMPAT=off"),
        ("No CUDA GPUs are available", "--gpus all"),
    ],
)
def test_gpus_that_cannot_be_used_are_not_replaced_silently(reason: str, remedy: str) -> None:
    gpus = Gpus("580.95.05", "13.2", present=8, reason=reason)
    with pytest.raises(ResourceError, match=r"none of the 8 GPU\(s\) .* \(driver 580.95.05, CUDA 13.2\)") as error:
        check_gpus(gpus, allow_cpu_fallback=False)
    assert reason in str(error.value)
    assert remedy in str(error.value)
    assert "allow_cpu_fallback=true" in str(error.value)
    with pytest.raises(ResourceError, match="ALLOW_CPU_FALLBACK=true"):
        check_gpus(gpus, allow_cpu_fallback=False, serving=True)
    assert (check_gpus(gpus, allow_cpu_fallback=True) or "").endswith("using the CPU")


def test_a_torch_for_cpus_is_a_choice_that_is_named() -> None:
    warning = check_gpus(Gpus("580.95.05", None, present=1), allow_cpu_fallback=False)
    assert "is built for CPUs: the 1 GPU(s) of this machine are not used" in (warning or "")


ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")  # of torch's wheels for CUDA 13


@pytest.mark.parametrize(
    ("architecture", "capability", "runs"),
    [
        ("sm_75", (7, 5), True),
        ("sm_75", (7, 0), False),
        ("sm_80", (8, 9), True),
        ("sm_86", (8, 0), False),
        ("sm_90", (10, 0), False),
        ("sm_90a", (9, 0), True),
        ("sm_100", (10, 3), True),
        ("sm_100a", (10, 3), False),
        ("sm_100f", (10, 3), True),
        ("compute_75", (12, 0), True),
        ("compute_90", (8, 0), False),
        ("unknown", (9, 0), False),
    ],
)
def test_what_a_kernel_runs_on(architecture: str, capability: tuple[int, int], runs: bool) -> None:
    assert runs_on(architecture, capability) is runs


@pytest.mark.parametrize(
    ("name", "capability", "usable"),
    [("Tesla V100-SXM2-16GB", (7, 0), False), ("Tesla P100", (6, 0), False)]
    + [(name, capability, True) for name, capability in (("T4", (7, 5)), ("A10G", (8, 6)), ("L4", (8, 9)))]
    + [(name, capability, True) for name, capability in (("H200", (9, 0)), ("B200", (10, 0)), ("B300", (10, 3)))],
)
def test_a_gpu_without_kernels_is_refused_by_name(name: str, capability: tuple[int, int], usable: bool) -> None:
    gpus = Gpus("580.95.05", "13.2", None, (name,), (capability,), ARCHITECTURES, present=1)
    if usable:
        assert check_gpus(gpus, allow_cpu_fallback=False) is None
        return
    with pytest.raises(ResourceError, match=rf"CUDA 13.2 has no kernels for {name} .*V100 .*use g4dn") as error:
        check_gpus(gpus, allow_cpu_fallback=True)
    assert "CUDA_VISIBLE_DEVICES=" in str(error.value)
    assert error.value.exit_code == 4


def test_a_driver_that_is_new_enough_is_not_blamed(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=r"none of the 1 GPU\(s\) of this machine can be used \(driver 580\.65\.06"):
        check_gpus(found(tmp_path, "580.65.06"), allow_cpu_fallback=False)


def test_a_gpu_that_works_is_not_questioned() -> None:
    gpus = Gpus("470.256.02", "13.2", "595.45.04", ("Tesla T4 (15 GiB, compute capability 7.5)",))
    assert check_gpus(gpus, allow_cpu_fallback=False) is None
    assert str(gpus).endswith("compat library 595.45.04; GPUs: Tesla T4 (15 GiB, compute capability 7.5)")
