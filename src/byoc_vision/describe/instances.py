"""Which of SageMaker's instance types fit a model, an image size and a batch.

`step_memory` counts the memory of tensors. What a process needs besides was measured on a CPU, with
benchmarks/instance_memory.py (results/instance_memory.json), and is rounded up here. On GPUs it was not measured: the
allowance covers the usual size of CUDA's context, of libraries and of the workspaces of convolutions, and the margin
is the one of `auto_batch_size`. If a type is nearly full, try it with a short job.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, Literal

import torch

from byoc_vision.data.workers import MOST_WORKERS
from byoc_vision.describe.instance_types import InstanceType, Purpose, instance_types, offered
from byoc_vision.describe.step_memory import StepMemory, inference_memory, training_memory
from byoc_vision.errors import InputError
from byoc_vision.precision import PrecisionName, dtype_of_capability
from byoc_vision.system.gpus import MINIMUM_DRIVERS, inference_ami
from byoc_vision.types import ModelSpec

Json = dict[str, Any]
Use = Literal["train", "serve"]

MIB, GIB = 2**20, 2**30
IMAGE_CUDA = 13  # see docker/Dockerfile
FILLED = 0.9  # of a memory; the rest is for fragments and the system

_ON_CPU: dict[Use, tuple[int, float]] = {"train": (800 * MIB, 1.25), "serve": (400 * MIB, 1.25)}
"""Bytes of a process without a model, and bytes for each counted byte."""
_LOADER = 256 * MIB  # a process that reads images; a training job has one for every second core
_ON_GPU = 1 * GIB

SERVERLESS_SIZES = (1024, 2048, 3072, 4096, 5120, 6144)  # MB, ProductionVariantServerlessConfig.MemorySizeInMB
TRANSFORM_AMI = "al2-ami-sagemaker-batch-gpu-535"  # the newest; works with the compat library in the image


@dataclass(frozen=True)
class Workload:
    """size: the model's input, height and width in pixels. batch_size: of a process; there is one for each GPU."""

    spec: ModelSpec
    size: tuple[int, int]
    batch_size: int
    use: Use = "train"
    precision: PrecisionName = "auto"
    optimizer: str = "adamw"

    def memory(self, dtype: torch.dtype) -> StepMemory:
        """Raises InputError if the model cannot be built, or does not take the size."""
        if self.use == "serve":
            return inference_memory(self.spec, self.size, self.batch_size, dtype=dtype)
        return training_memory(self.spec, self.size, self.batch_size, optimizer=self.optimizer, dtype=dtype)


@dataclass(frozen=True)
class Fit:
    """Whether a workload fits an instance type. needed, available: MiB, of a GPU if there is one."""

    instance: InstanceType
    precision: str
    needed: int
    available: int

    @property
    def fits(self) -> bool:
        return self.needed <= FILLED * self.available


@dataclass(frozen=True)
class Advice:
    """fits: of each instance type that is offered for the use. serverless: MB, None if no size suffices."""

    workload: Workload
    memory: dict[str, StepMemory]  # by precision
    fits: tuple[Fit, ...]
    serverless: int | None = None


def advise(workload: Workload) -> Advice:
    """Count the workload's memory in each precision that some instance has, and compare.

    Raises InputError if the model cannot be built, does not take the size, or the batch is empty.
    """
    if workload.batch_size < 1:
        raise InputError(f"batch_size={workload.batch_size} must be 1 or more")
    purpose: Purpose = "training" if workload.use == "train" else "hosting"
    memory = cache(workload.memory)
    types = [it for it in instance_types() if offered(it.name, purpose)]
    fits = tuple(_fit(it, workload, memory) for it in types)
    counted = {_name(dtype): memory(dtype) for dtype in dict.fromkeys(_dtype(it, workload) for it in types)}
    serverless = _serverless(_on_cpu(workload.use, memory(torch.float32))) if workload.use == "serve" else None
    return Advice(workload, counted, fits, serverless)


def inference_ami_of(instance: InstanceType) -> str | None:
    """The AMI that an endpoint on a GPU must request; the default's driver is too old for this image's CUDA."""
    return inference_ami(MINIMUM_DRIVERS[IMAGE_CUDA]) if instance.gpu else None


def as_json(advice: Advice) -> Json:
    """For programs; memory in MiB."""
    work = advice.workload
    found: Json = {
        "model": work.spec.architecture,
        "encoder": work.spec.encoder,
        "image_size": list(work.size),
        "batch_size": work.batch_size,
        "for": work.use,
        "memory_mib": {name: _memory_json(memory) for name, memory in advice.memory.items()},
        "instances": [_fit_json(fit, work.use) for fit in advice.fits],
    }
    if work.use == "serve":
        found["serverless_memory_mb"] = advice.serverless
    return found


def as_table(advice: Advice) -> str:
    """The smallest type of each family that fits, and the families that do not."""
    rows = [("instance type", "needs", "of", "GPUs", "precision")]
    families: dict[str, list[Fit]] = {}
    for fit in advice.fits:
        families.setdefault(fit.instance.name.rpartition(".")[0], []).append(fit)
    for family, fits in families.items():
        smallest = next((fit for fit in sorted(fits, key=_size) if fit.fits), None)
        fit = smallest or max(fits, key=_size)
        gpus = f"{fit.instance.gpus} × {fit.instance.gpu.name}" if fit.instance.gpu else "–"
        name = fit.instance.name if smallest else f"{family}: none fits"
        rows.append((name, _gib(fit.needed), _gib(fit.available), gpus, fit.precision))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, *_remarks(advice)])


def _remarks(advice: Advice) -> list[str]:
    if advice.workload.use == "train":
        return []
    ami = inference_ami(MINIMUM_DRIVERS[IMAGE_CUDA])
    fitting = f"{advice.serverless} MB suffice" if advice.serverless else "no size suffices"
    return [
        f'endpoints on GPUs: InferenceAmiVersion="{ami}"; batch transforms: TransformAmiVersion="{TRANSFORM_AMI}"',
        f"serverless, on a CPU: {fitting}",
    ]


def _fit(instance: InstanceType, workload: Workload, memory: Callable[[torch.dtype], StepMemory]) -> Fit:
    dtype = _dtype(instance, workload)
    counted = memory(dtype)
    if instance.gpu:
        return Fit(instance, _name(dtype), _mib(counted.peak + _ON_GPU), instance.gpu.memory)
    loaders = min(instance.cores // 2, MOST_WORKERS) * _LOADER if workload.use == "train" else 0
    return Fit(instance, _name(dtype), _mib(_on_cpu(workload.use, counted) + loaders), instance.memory * 1024)


def _on_cpu(use: Use, counted: StepMemory) -> float:
    base, factor = _ON_CPU[use]
    return base + factor * counted.peak


def _dtype(instance: InstanceType, workload: Workload) -> torch.dtype:
    """The type of matrix products and convolutions: as a job chooses, or as requested."""
    if workload.precision != "auto":
        chosen: torch.dtype = getattr(torch, workload.precision)
        return torch.bfloat16 if not instance.gpu and chosen == torch.float16 else chosen
    if instance.gpu:
        return dtype_of_capability(instance.gpu.capability)
    return torch.bfloat16 if instance.bfloat16 else torch.float32


def _serverless(needed: float) -> int | None:
    return next((size for size in SERVERLESS_SIZES if needed <= FILLED * size * MIB), None)


def _size(fit: Fit) -> tuple[int, int]:
    return fit.instance.cores, fit.instance.gpus


def _memory_json(memory: StepMemory) -> Json:
    parts = asdict(memory) | {"activations": memory.activations}
    return {name: _mib(value) for name, value in parts.items()}


def _fit_json(fit: Fit, use: Use) -> Json:
    it = fit.instance
    found: Json = {
        "instance_type": it.name,
        "fits": fit.fits,
        "needed_mib": fit.needed,
        "available_mib": fit.available,
        "precision": fit.precision,
        "cores": it.cores,
        "memory_gib": it.memory,
        "gpus": it.gpus,
        "gpu": it.gpu.name if it.gpu else None,
    }
    if use == "serve":
        found["inference_ami_version"] = inference_ami_of(it)
        found["transform"] = offered(it.name, "transform")
        found["transform_ami_version"] = TRANSFORM_AMI if it.gpu and found["transform"] else None
    return found


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _mib(size: float) -> int:
    return round(size / MIB)


def _gib(mib: int) -> str:
    return f"{mib / 1024:.1f} GiB"
