from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.trainers import small_trainer

from byoc_vision.errors import InputError, ResourceError
from byoc_vision.precision import Precision, allow_tf32, choose_device, choose_precision, dtype_of_capability
from byoc_vision.system.machine import has_amx_bfloat16

CPU = torch.device("cpu")


def test_auto_on_a_cpu_is_bfloat16_only_with_amx() -> None:
    expected = torch.bfloat16 if has_amx_bfloat16() else torch.float32
    assert choose_precision("auto", CPU) == Precision(expected, "cpu")


@pytest.mark.parametrize(
    ("capability", "dtype"),
    [
        ((7, 0), torch.float16),  # V100
        ((7, 5), torch.float16),  # T4
        ((8, 0), torch.bfloat16),  # A100
        ((8, 6), torch.bfloat16),  # A10G
        ((9, 0), torch.bfloat16),  # H100
        ((12, 0), torch.bfloat16),
    ],
)
def test_auto_on_a_gpu_depends_on_its_generation(capability: tuple[int, int], dtype: torch.dtype) -> None:
    assert dtype_of_capability(capability) == dtype


def test_float16_on_a_cpu_is_an_error() -> None:
    with pytest.raises(InputError, match="precision=float16 is for GPUs"):
        choose_precision("float16", CPU)


@pytest.mark.parametrize(("name", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_autocast_runs_products_in_the_precision(name: str, dtype: torch.dtype) -> None:
    precision = choose_precision(name, CPU)
    with precision.autocast():
        assert torch.nn.Linear(2, 2)(torch.zeros(1, 2)).dtype == dtype
    assert precision.name == name


@pytest.mark.parametrize(
    ("dtype", "device_type", "scales"),
    [
        (torch.float32, "cpu", False),
        (torch.bfloat16, "cpu", False),
        (torch.bfloat16, "cuda", False),
    ],
)
def test_only_float16_scales_its_loss(dtype: torch.dtype, device_type: str, scales: bool) -> None:
    assert Precision(dtype, device_type).scaler().is_enabled() is scales


def test_without_a_gpu_the_cpu_is_chosen() -> None:
    assert choose_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert choose_device("cpu") == CPU


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_an_error() -> None:
    with pytest.raises(ResourceError, match="device=cuda:1: no GPU is available"):
        choose_device("cuda:1")


def test_tf32_is_allowed_in_matrix_products() -> None:
    before = torch.backends.cuda.matmul.fp32_precision
    allow_tf32()
    assert torch.backends.cuda.matmul.fp32_precision == "tf32"
    torch.backends.cuda.matmul.fp32_precision = before


def test_a_gpu_that_cannot_be_used_is_not_replaced_silently(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By commands such as `predict`; jobs and servers end, unless they may use the CPU."""
    assert choose_device().type == "cpu"
    assert caplog.text == ""
    (tmp_path / "nvidia0").touch()
    monkeypatch.setenv("BYOC_NVIDIA_DEVICES", str(tmp_path))
    assert choose_device().type == "cpu"
    assert "None of the 1 GPU(s) of this machine can be used: the CPU takes their place" in caplog.text


def test_a_job_lets_cudnn_time_its_convolutions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its batches have few shapes."""
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    small_trainer(tmp_path).close()
    assert torch.backends.cudnn.benchmark
