from __future__ import annotations

from pathlib import Path

import pytest
import torch

from byoc_vision.errors import InputError, ResourceError
from byoc_vision.precision import (
    Precision,
    allow_tf32,
    bfloat16_cpu,
    choose_device,
    choose_precision,
    dtype_of_capability,
)

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu vme avx2 avx512f avx512_bf16", True),
        ("fpu amx_tile amx_bf16 amx_int8", True),
        ("fpu vme avx2 avx512f avx512_vnni", False),
        ("avx512_bf16x amx_bf16_not", False),
    ],
)
def test_the_processor_s_flags_tell_whether_it_knows_bfloat16(tmp_path: Path, flags: str, expected: bool) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: {flags}\n\nprocessor\t: 1\n")
    assert bfloat16_cpu(cpuinfo) is expected


def test_where_there_are_no_flags_the_answer_is_no(tmp_path: Path) -> None:
    assert bfloat16_cpu(tmp_path / "missing") is False
    (tmp_path / "arm").write_text("processor\t: 0\nFeatures\t: fp asimd bf16\n")
    assert bfloat16_cpu(tmp_path / "arm") is False


def test_auto_on_a_cpu_is_what_the_processor_is_good_at() -> None:
    expected = torch.bfloat16 if bfloat16_cpu() else torch.float32
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
def test_auto_on_a_gpu_goes_by_its_generation(capability: tuple[int, int], dtype: torch.dtype) -> None:
    assert dtype_of_capability(capability) == dtype


def test_float16_on_a_cpu_is_refused() -> None:
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
def test_a_gpu_that_is_not_there_is_named() -> None:
    with pytest.raises(ResourceError, match="device=cuda:1: no GPU can be used here"):
        choose_device("cuda:1")


def test_tf32_is_allowed_in_matrix_products() -> None:
    before = torch.backends.cuda.matmul.fp32_precision
    allow_tf32()
    assert torch.backends.cuda.matmul.fp32_precision == "tf32"
    torch.backends.cuda.matmul.fp32_precision = before
