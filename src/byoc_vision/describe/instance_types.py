"""SageMaker's instance types that suit this image, and their hardware.

Cores and memory: "Amazon EC2 instance types", the pages of specifications of compute optimised, general purpose and
accelerated computing instances. A GPU's memory is what nvidia-smi reports, which is less than the data sheet
says. Which types are offered for what: the enumerations of SageMaker's API in the installed botocore. Not
every region has every type, and an account needs a quota for it. Prices are on https://aws.amazon.com/sagemaker/pricing.

Left out: P2 and P3, whose GPUs CUDA 13 no longer supports, CPUs other than x86-64, accelerators other than NVIDIA's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

Purpose = Literal["training", "hosting", "transform"]

_ENUMERATIONS: Mapping[Purpose, str] = {
    "training": "TrainingInstanceType",
    "hosting": "ProductionVariantInstanceType",
    "transform": "TransformInstanceType",
}


@dataclass(frozen=True)
class Gpu:
    """memory: MiB. capability: NVIDIA's compute capability."""

    name: str
    memory: int
    capability: tuple[int, int]


@dataclass(frozen=True)
class InstanceType:
    """cores: virtual CPUs. memory: GiB. bfloat16: whether the CPU multiplies it in hardware (AMX)."""

    name: str
    cores: int
    memory: int
    gpus: int = 0
    gpu: Gpu | None = None
    bfloat16: bool = False


T4 = Gpu("T4", 15_360, (7, 5))
A10G = Gpu("A10G", 23_028, (8, 6))
L4 = Gpu("L4", 23_034, (8, 9))
L40S = Gpu("L40S", 46_068, (8, 9))
A100 = Gpu("A100", 40_960, (8, 0))
A100_80 = Gpu("A100 80 GB", 81_920, (8, 0))
H100 = Gpu("H100", 81_559, (9, 0))
H200 = Gpu("H200", 143_771, (9, 0))

# Size: cores, and GPUs if there are any.
_C5 = {"large": 2, "xlarge": 4, "2xlarge": 8, "4xlarge": 16, "9xlarge": 36, "18xlarge": 72}
_M5 = {"large": 2, "xlarge": 4, "2xlarge": 8, "4xlarge": 16, "12xlarge": 48, "24xlarge": 96}
_7I = {"large": 2, "xlarge": 4, "2xlarge": 8, "4xlarge": 16, "8xlarge": 32, "12xlarge": 48, "16xlarge": 64,
       "24xlarge": 96, "48xlarge": 192}  # fmt: skip
_G4DN = {"xlarge": (4, 1), "2xlarge": (8, 1), "4xlarge": (16, 1), "8xlarge": (32, 1), "16xlarge": (64, 1),
         "12xlarge": (48, 4)}  # fmt: skip
_G5 = _G4DN | {"24xlarge": (96, 4), "48xlarge": (192, 8)}

_CPU_FAMILIES = (("c5", _C5, 2, False), ("m5", _M5, 4, False), ("c7i", _7I, 2, True), ("m7i", _7I, 4, True))
_GPU_FAMILIES = (("g4dn", _G4DN, 4, T4), ("g5", _G5, 4, A10G), ("g6", _G5, 4, L4), ("g6e", _G5, 8, L40S))
_LARGE = (
    InstanceType("ml.p4d.24xlarge", 96, 1152, 8, A100),
    InstanceType("ml.p4de.24xlarge", 96, 1152, 8, A100_80),
    InstanceType("ml.p5.4xlarge", 16, 256, 1, H100),
    InstanceType("ml.p5.48xlarge", 192, 2048, 8, H100),
    InstanceType("ml.p5e.48xlarge", 192, 2048, 8, H200),
    InstanceType("ml.p5en.48xlarge", 192, 2048, 8, H200),
)


def instance_types() -> tuple[InstanceType, ...]:
    """All of them: CPU types first, then GPU types, the smallest family first."""
    return (*_of_cpus(), *_of_gpus(), *_LARGE)


def _of_cpus() -> Iterator[InstanceType]:
    for family, sizes, memory, bfloat16 in _CPU_FAMILIES:
        for size, cores in sizes.items():
            yield InstanceType(f"ml.{family}.{size}", cores, cores * memory, bfloat16=bfloat16)


def _of_gpus() -> Iterator[InstanceType]:
    for family, sizes, memory, gpu in _GPU_FAMILIES:
        for size, (cores, gpus) in sizes.items():
            yield InstanceType(f"ml.{family}.{size}", cores, cores * memory, gpus, gpu)


def offered(name: str, purpose: Purpose) -> bool:
    """Whether SageMaker's API has an instance type for a purpose."""
    return name in _enumeration(_ENUMERATIONS[purpose])


@cache
def _enumeration(shape: str) -> frozenset[str]:
    from botocore.loaders import Loader

    shapes = Loader().load_service_model("sagemaker", "service-2")["shapes"]
    return frozenset(shapes[shape]["enum"])
