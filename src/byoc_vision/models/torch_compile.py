"""torch.compile for a job that asks for it, with what it needs of the machine."""

from __future__ import annotations

import logging
import shutil
import sysconfig
from pathlib import Path

import torch
from torch import nn

from byoc_vision.errors import InputError

logger = logging.getLogger(__name__)

_COMPILERS = ("cc", "gcc", "clang")


def compile_network(model: nn.Module, device: torch.device, backend: str = "inductor") -> None:
    """Have the network compiled when it first runs. Its weights keep their names.

    Raises:
        InputError: the machine has no C compiler, or not Python's headers, for Triton's launchers.
    """
    if device.type != "cuda":
        logger.warning("compile=true does nothing: it is for GPUs")
        return
    if missing := what_is_missing():
        raise InputError(
            f"compile=true needs {missing}; build the image with COMPILER=1 (`make build COMPILER=1`), or leave it out"
        )
    model.compile(backend=backend)
    logger.info("The network is compiled in the first step, which takes minutes")


def what_is_missing(path: str | None = None, headers: Path | None = None) -> str | None:
    """What Triton lacks here, in words; None if all is there.

    Args:
        path: where compilers are looked for, by default PATH.
        headers: the folder of Python.h, by default this Python's.
    """
    if not any(shutil.which(name, path=path) for name in _COMPILERS):
        return "a C compiler"
    headers = headers or Path(sysconfig.get_paths()["include"])
    return None if (headers / "Python.h").is_file() else f"Python's headers in {headers}"
