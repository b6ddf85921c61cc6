"""TorchScript, for libtorch and for SageMaker's compilation jobs (Neo).

Neo requires a traced model whose input is float32 [N, 3, h, w], as a .pth file at the root of a .tar.gz, and the
input's name and shape. Source: "Prepare Model for Compilation" in the SageMaker AI Developer Guide.
"""

from __future__ import annotations

import json
import tarfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from byoc_vision.artifact import ModelConfig
from byoc_vision.export.formats import Run
from byoc_vision.export.program import standalone

FILE = "model.pth"
ARCHIVE = "model.tar.gz"
DATA_INPUT_CONFIG = "data-input-config.json"
_INPUT = "input0"  # Neo's name of the first input of a PyTorch model


def write(net: nn.Module, config: ModelConfig, folder: Path) -> dict[str, Any]:
    """Write model.pth, model.tar.gz with the same file, and data-input-config.json.

    Returns the format's own entries of preprocessing.json.
    """
    shape = [1, config.preprocess.channels, config.preprocess.height, config.preprocess.width]
    with torch.no_grad(), _without_warnings():
        model = standalone(net, config)
        traced = torch.jit.trace(model, torch.zeros(shape), check_trace=False)  # type: ignore[no-untyped-call]
        traced.save(str(folder / FILE))
    with tarfile.open(folder / ARCHIVE, "w:gz", compresslevel=1) as tar:  # weights hardly shrink
        tar.add(folder / FILE, FILE)
    (folder / DATA_INPUT_CONFIG).write_text(json.dumps({_INPUT: shape}) + "\n", encoding="utf-8")
    return {"archive": ARCHIVE, "data_input_config": DATA_INPUT_CONFIG}


def load(folder: Path) -> Run:
    with _without_warnings():
        model = torch.jit.load(str(folder / FILE), map_location="cpu")  # type: ignore[no-untyped-call]

    def run(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            logits: np.ndarray = model(torch.from_numpy(images).permute(0, 3, 1, 2).float()).numpy()
        return logits

    return run


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Hides two warnings: torch recommends torch.export, but Neo and libtorch require TorchScript."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", FutureWarning)
        # It warns of numbers that become constants; `compare` finds those that matter.
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)  # type: ignore[attr-defined]
        yield
