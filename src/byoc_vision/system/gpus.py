"""The GPUs of this machine in one line, and an error for those that cannot be used, with the remedy.

Without the error torch would not find the GPU, and the job would silently take a hundred times as long.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from byoc_vision.errors import ResourceError, error_lines
from byoc_vision.system.machine import driver_version, visible_gpus

COMPAT_FOLDER = "/opt/byoc/cuda-compat"
COMPAT_VARIABLE = "BYOC_CUDA_COMPAT_DIR"

# The oldest driver of each CUDA: NVIDIA, "CUDA Compatibility", table "Minimum Required Driver Versions".
MINIMUM_DRIVERS = {11: "450.80.02", 12: "525.60.13", 13: "580.65.06"}
# The endpoints' machine images and their drivers: "ProductionVariant.InferenceAmiVersion" in the SageMaker API.
INFERENCE_AMIS = {
    "al2-ami-sagemaker-inference-gpu-2-1": "535",
    "al2-ami-sagemaker-inference-gpu-3-1": "550",
    "al2023-ami-sagemaker-inference-gpu-4-1": "580",
}
TRANSFORM_AMI = "al2-ami-sagemaker-batch-gpu-535"  # "TransformResources.TransformAmiVersion" in the SageMaker API
# What CUDA says of a GPU that is there and cannot be used, and what to do. Source: "CUDA Runtime API", cudaError.
_ADVICE = {
    "Error 802": "start another instance: the fabric manager of this one's GPUs (NVSwitch) does not run",
    "Error 803": "unset BYOC_CUDA_COMPAT and LD_LIBRARY_PATH: libcuda and the kernel's driver do not fit each other",
    "Error 804": "set BYOC_CUDA_COMPAT=off: this GPU (GeForce) refuses the compat library; it needs a newer driver",
}


@dataclass(frozen=True)
class Gpus:
    """What decides whether a job can use a GPU.

    driver: the version of the host's; None if it has none. cuda: the version torch was built for, None for a CPU build.
    compat: the version of the compat library on the library path. names: of the GPUs that torch finds.
    capabilities: of these GPUs, in their order. architectures: what torch has kernels for, as `sm_80`.
    present: how many GPUs this container has, whether torch can use them or not.
    reason: what torch says if it can use none.
    """

    driver: str | None
    cuda: str | None
    compat: str | None = None
    names: tuple[str, ...] = ()
    capabilities: tuple[tuple[int, int], ...] = ()
    architectures: tuple[str, ...] = ()
    present: int = 0
    reason: str = ""

    @property
    def minimum(self) -> str | None:
        """The oldest driver that torch's CUDA runs on without the compat library."""
        return MINIMUM_DRIVERS.get(int(self.cuda.partition(".")[0])) if self.cuda else None

    @property
    def too_old(self) -> bool:
        """Whether the driver is older than torch's CUDA."""
        return bool(self.driver and self.minimum and _numbers(self.driver) < _numbers(self.minimum))

    @property
    def unsupported(self) -> tuple[str, ...]:
        """The names of the GPUs that torch finds and has no kernels for."""
        return tuple(
            name
            for name, capability in zip(self.names, self.capabilities, strict=False)
            if self.architectures and not any(runs_on(each, capability) for each in self.architectures)
        )

    def __str__(self) -> str:
        if self.driver is None and not self.names:
            return f"no GPU; torch {torch.__version__}"
        compat = f", compat library {self.compat}" if self.compat else ""
        names = "; ".join(self.names) or "none that can be used"
        return f"GPU driver {self.driver or 'unknown'}, CUDA {self.cuda or 'none'}{compat}; GPUs: {names}"


def find_gpus(environment: Mapping[str, str] = os.environ, cuda: str | None = torch.version.cuda) -> Gpus:
    """Ask the kernel, the library path and torch."""
    found = _torch_gpus()
    present = max(visible_gpus(environment), len(found))
    return Gpus(
        driver=driver_version(environment),
        cuda=cuda,
        compat=compat_version(environment),
        names=tuple(
            f"{gpu.name} ({gpu.total_memory / 2**30:.0f} GiB, compute capability {gpu.major}.{gpu.minor})"
            for gpu in found
        ),
        capabilities=tuple((gpu.major, gpu.minor) for gpu in found),
        architectures=tuple(torch.cuda.get_arch_list()) if found else (),
        present=present,
        reason=_why_none() if present and not found else "",
    )


def runs_on(architecture: str, capability: tuple[int, int]) -> bool:
    """Whether a kernel that was built for an architecture runs on a GPU with a compute capability.

    Machine code (`sm_80`) runs on the same generation from its own capability on; with a letter (`sm_90a`) on that one
    alone, or on its family (`sm_100f`); PTX (`compute_80`) on every later one. Source: NVIDIA, "CUDA C++ Programming
    Guide", Application Compatibility.
    """
    kind, _, text = architecture.partition("_")
    digits = text.rstrip("abcdefghijklmnopqrstuvwxyz")
    if not digits.isdigit():
        return False
    built = (int(digits[:-1]), int(digits[-1]))
    if text.endswith("a"):
        return capability == built
    return capability >= built if kind == "compute" else capability[0] == built[0] and capability >= built


def compat_version(environment: Mapping[str, str]) -> str | None:
    """The version of the compat library, if its folder is on the library path."""
    folder = Path(environment.get(COMPAT_VARIABLE) or COMPAT_FOLDER)
    if str(folder) not in environment.get("LD_LIBRARY_PATH", "").split(":"):
        return None
    names = sorted(path.name.removeprefix("libcuda.so.") for path in folder.glob("libcuda.so.*.*"))
    return names[-1] if names else None


def check_gpus(gpus: Gpus, *, allow_cpu_fallback: bool, serving: bool = False, transform: bool = False) -> str | None:
    """What to warn of if the CPU may replace GPUs that cannot be used; None if all is well.

    A machine without a GPU is well, whatever driver its host has.

    Args:
        serving: in an endpoint. transform: in a batch transform, which serves too.

    Raises:
        ResourceError: names the versions, the cause and the remedy.
    """
    if gpus.unsupported:  # torch would choose them, and fail in the first step
        raise ResourceError(_describe_unsupported(gpus))
    if gpus.names or not gpus.present:
        return None
    if gpus.cuda is None:  # a torch for CPUs is the choice of the user
        return f"torch {torch.__version__} is built for CPUs: the {gpus.present} GPU(s) of this machine are not used"
    what, remedy = _driver_too_old(gpus, serving, transform) if gpus.too_old else _unusable(gpus, serving)
    if allow_cpu_fallback:
        return f"{what}: using the CPU"
    raise ResourceError(f"{what}; {remedy}")


def _driver_too_old(gpus: Gpus, serving: bool, transform: bool) -> tuple[str, str]:
    """What is wrong, and what to do."""
    assert gpus.minimum is not None
    compat = f"; the compat library {gpus.compat} does not help this GPU" if gpus.compat else ""
    what = f"the GPU driver {gpus.driver} is too old for CUDA {gpus.cuda}, which needs {gpus.minimum}{compat}"
    if transform:
        newest = f'set TransformAmiVersion="{TRANSFORM_AMI}" if it is not yet'
        return what, f"{newest}, run the transform on CPUs, or set ALLOW_CPU_FALLBACK=true"
    if serving:
        ami = inference_ami(gpus.minimum)
        return what, f'give the endpoint InferenceAmiVersion="{ami}", or ALLOW_CPU_FALLBACK=true'
    return what, "use another instance type or a newer driver, or set allow_cpu_fallback=true to train on the CPU"


def _unusable(gpus: Gpus, serving: bool) -> tuple[str, str]:
    """What is wrong, and what to do."""
    versions = f"driver {gpus.driver or 'unknown'}, CUDA {gpus.cuda}"
    if gpus.compat:
        versions += f", compat library {gpus.compat}"
    what = f"none of the {gpus.present} GPU(s) of this machine can be used ({versions}): {gpus.reason or 'no reason'}"
    fallback = "ALLOW_CPU_FALLBACK=true" if serving else "allow_cpu_fallback=true"
    remedy = "start the container with `--gpus all`, or another instance: this one's GPU may be broken"
    for sign, advice in _ADVICE.items():
        if sign in gpus.reason:
            remedy = advice
    return what, f"{remedy}; with {fallback} the CPU takes its place"


def _describe_unsupported(gpus: Gpus) -> str:
    known = ", ".join(sorted(gpus.architectures, key=lambda name: int("".join(filter(str.isdigit, name)) or 0)))
    return (
        f"this image's CUDA {gpus.cuda} has no kernels for {'; '.join(gpus.unsupported)} (it has {known}): Volta (the "
        "V100 of p3 instances) and older GPUs are not supported; use g4dn, g5, g6, p4, p5 or newer, or hide the GPU "
        "from the container with CUDA_VISIBLE_DEVICES= (empty) to use the CPU"
    )


def inference_ami(minimum: str) -> str:
    """The first of the endpoints' machine images with a driver that is new enough; otherwise the newest."""
    wanted = _numbers(minimum)[:1]
    fitting = [name for name, driver in INFERENCE_AMIS.items() if _numbers(driver) >= wanted]
    return fitting[0] if fitting else list(INFERENCE_AMIS)[-1]


def _torch_gpus() -> list[Any]:
    """The properties of the GPUs that torch finds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they become an error of ours
        if not torch.cuda.is_available():
            return []
        return [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]


def _why_none() -> str:
    """What torch says when it is asked to use a GPU."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.cuda.init()  # type: ignore[no-untyped-call]
        except (RuntimeError, AssertionError) as error:
            return error_lines(error)[0]
    return "torch counts none"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
