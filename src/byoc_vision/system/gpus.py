"""The GPUs of this machine in one line, and an error for a driver that is too old, with the remedy.

Without the error torch would not find the GPU, and the job would silently take a hundred times as long.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from byoc_vision.errors import ResourceError
from byoc_vision.system.machine import driver_version

COMPAT_FOLDER = "/usr/local/cuda/compat"
COMPAT_VARIABLE = "BYOC_CUDA_COMPAT_DIR"

# The oldest driver of each CUDA: NVIDIA, "CUDA Compatibility", table "Minimum Required Driver Versions".
MINIMUM_DRIVERS = {11: "450.80.02", 12: "525.60.13", 13: "580.65.06"}
# The endpoints' machine images and their drivers: "ProductionVariant.InferenceAmiVersion" in the SageMaker API.
INFERENCE_AMIS = {
    "al2-ami-sagemaker-inference-gpu-2-1": "535",
    "al2-ami-sagemaker-inference-gpu-3-1": "550",
    "al2023-ami-sagemaker-inference-gpu-4-1": "580",
}


@dataclass(frozen=True)
class Gpus:
    """driver: its version, None without a driver. cuda: the version torch was built for, None for a CPU build.

    compat: the version of the compat library on the library path. names: of the GPUs that torch can use.
    """

    driver: str | None
    cuda: str | None
    compat: str | None = None
    names: tuple[str, ...] = ()

    @property
    def minimum(self) -> str | None:
        """The oldest driver that torch's CUDA runs on without the compat library."""
        return MINIMUM_DRIVERS.get(int(self.cuda.partition(".")[0])) if self.cuda else None

    @property
    def too_old(self) -> bool:
        """Whether torch can use no GPU because the driver is older than its CUDA."""
        if self.names or self.driver is None or self.minimum is None:
            return False
        return _numbers(self.driver) < _numbers(self.minimum)

    def __str__(self) -> str:
        if self.driver is None and not self.names:
            return f"no GPU; torch {torch.__version__}"
        compat = f", compat library {self.compat}" if self.compat else ""
        names = "; ".join(self.names) or "none that can be used"
        return f"GPU driver {self.driver or 'unknown'}, CUDA {self.cuda or 'none'}{compat}; GPUs: {names}"


def find_gpus(environment: Mapping[str, str] = os.environ, cuda: str | None = torch.version.cuda) -> Gpus:
    """Ask the kernel, the library path and torch."""
    return Gpus(
        driver=driver_version(environment),
        cuda=cuda,
        compat=compat_version(environment),
        names=_usable_gpus(),
    )


def compat_version(environment: Mapping[str, str]) -> str | None:
    """The version of the compat library, if its folder is on the library path."""
    folder = Path(environment.get(COMPAT_VARIABLE) or COMPAT_FOLDER)
    if str(folder) not in environment.get("LD_LIBRARY_PATH", "").split(":"):
        return None
    names = sorted(path.name.removeprefix("libcuda.so.") for path in folder.glob("libcuda.so.*.*"))
    return names[-1] if names else None


def check_driver(gpus: Gpus, *, allow_cpu_fallback: bool, serving: bool = False) -> str | None:
    """What to warn of, where the driver is too old and the CPU may stand in; None where all is well.

    Raises ResourceError that names the versions and the way out.
    """
    if not gpus.too_old:
        return None
    assert gpus.minimum is not None
    compat = f"; the compat library {gpus.compat} does not help this GPU" if gpus.compat else ""
    what = f"the GPU driver {gpus.driver} is too old for CUDA {gpus.cuda}, which needs {gpus.minimum}{compat}"
    if allow_cpu_fallback:
        return f"{what}: using the CPU"
    if serving:
        remedy = f'give the endpoint InferenceAmiVersion="{inference_ami(gpus.minimum)}", or ALLOW_CPU_FALLBACK=true'
    else:
        remedy = "use another instance type or a newer driver, or set allow_cpu_fallback=true to train on the CPU"
    raise ResourceError(f"{what}; {remedy}")


def inference_ami(minimum: str) -> str:
    """The first of the endpoints' machine images with a driver that is new enough; otherwise the newest."""
    wanted = _numbers(minimum)[:1]
    fitting = [name for name, driver in INFERENCE_AMIS.items() if _numbers(driver) >= wanted]
    return fitting[0] if fitting else list(INFERENCE_AMIS)[-1]


def _usable_gpus() -> tuple[str, ...]:
    if not torch.cuda.is_available():
        return ()
    properties = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return tuple(
        f"{found.name} ({found.total_memory / 2**30:.0f} GiB, compute capability {found.major}.{found.minor})"
        for found in properties
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
