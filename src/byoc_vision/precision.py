"""Chooses the device and the number format of a network.

On hardware that supports it, bfloat16 halves memory traffic and doubles arithmetic speed, and needs no loss scaling.
float16 needs it: Micikevicius et al., "Mixed Precision Training", 2018.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import Literal

import torch

from byoc_vision.errors import InputError, ResourceError
from byoc_vision.system.machine import has_amx_bfloat16, visible_gpus

logger = logging.getLogger(__name__)

PrecisionName = Literal["auto", "float32", "bfloat16", "float16"]

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_BFLOAT16_CAPABILITY = (8, 0)  # Ampere: the first GPUs whose tensor cores support bfloat16


@dataclass(frozen=True)
class Precision:
    """The number format of matrix products and convolutions on a type of device. Weights stay float32."""

    dtype: torch.dtype
    device_type: str

    @property
    def is_mixed(self) -> bool:
        return self.dtype != torch.float32

    def autocast(self, *, cache: bool = True) -> torch.autocast:
        """The context for the forward pass; it does nothing in float32. cache: keep weights that it has cast."""
        dtype = self.dtype if self.is_mixed else None
        return torch.autocast(self.device_type, dtype=dtype, enabled=self.is_mixed, cache_enabled=cache)

    def scaler(self) -> torch.amp.GradScaler:
        """The loss scaler: active in float16, whose gradients would vanish, disabled otherwise."""
        return torch.amp.GradScaler(self.device_type, enabled=self.dtype == torch.float16)

    @property
    def name(self) -> str:
        return str(self.dtype).removeprefix("torch.")


def choose_device(name: str | None = None) -> torch.device:
    """The named device, else this process's GPU if there is one, else the CPU.

    Raises ResourceError if `name` is a GPU and there is none.
    """
    if name is None:
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        if present := visible_gpus(os.environ):
            logger.warning("None of the %d GPU(s) of this machine can be used: the CPU takes their place", present)
        return torch.device("cpu")
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ResourceError(f"device={name}: no GPU is available; check the driver and `--gpus all`, or use cpu")
    return device


def choose_precision(name: PrecisionName, device: torch.device) -> Precision:
    """The precision with a name, for a device.

    auto: on a GPU, the generation decides; on a CPU, bfloat16 if it has AMX, else float32.
    Raises InputError for float16 on a CPU.
    """
    if name == "auto":
        return Precision(_best_dtype(device), device.type)
    if name == "float16" and device.type == "cpu":
        raise InputError("precision=float16 is for GPUs; on a CPU use bfloat16, float32 or auto")
    return Precision(_DTYPES[name], device.type)


def allow_tf32() -> None:
    """Let matrix products in float32 round their factors to TF32's 10 bits on GPUs, as convolutions do by default.

    Call it once per process, before the first step.
    """
    torch.backends.cuda.matmul.fp32_precision = "tf32"


def time_convolutions() -> None:
    """Let cuDNN time its algorithms for each new shape of a batch, and take the fastest one from then on.

    It pays if batches have few shapes, as in training. Call it once per process.
    """
    torch.backends.cudnn.benchmark = True


def _best_dtype(device: torch.device) -> torch.dtype:
    if device.type == "cuda":
        return dtype_of_capability(torch.cuda.get_device_capability(device))
    return torch.bfloat16 if device.type == "cpu" and has_amx_bfloat16() else torch.float32


def dtype_of_capability(capability: tuple[int, int]) -> torch.dtype:
    """The fastest number format of a GPU with a compute capability: bfloat16 from Ampere on, float16 before."""
    return torch.bfloat16 if capability >= _BFLOAT16_CAPABILITY else torch.float16
