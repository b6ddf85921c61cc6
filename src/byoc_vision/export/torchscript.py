"""TorchScript, in the form that SageMaker's compilation jobs (Neo) take: for them and for libtorch.

They want a traced model whose input is float32 [N, 3, h, w], as a file .pth at the root of a .tar.gz, and the input's
name and shape. Source: "Prepare Model for Compilation" in the SageMaker AI Developer Guide.
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
_INPUT = "input0"  # what Neo calls the first input of a PyTorch model


def write(net: nn.Module, config: ModelConfig, folder: Path) -> dict[str, Any]:
    """Write model.pth, the same in model.tar.gz, and data-input-config.json; what the description says of them."""
    shape = [1, 3, config.preprocess.height, config.preprocess.width]
    with torch.no_grad(), _deprecation_unsaid():
        model = standalone(net, config)
        traced = torch.jit.trace(model, torch.zeros(shape), check_trace=False)  # type: ignore[no-untyped-call]
        traced.save(str(folder / FILE))
    with tarfile.open(folder / ARCHIVE, "w:gz", compresslevel=1) as tar:  # weights hardly shrink
        tar.add(folder / FILE, FILE)
    (folder / DATA_INPUT_CONFIG).write_text(json.dumps({_INPUT: shape}) + "\n", encoding="utf-8")
    return {"archive": ARCHIVE, "data_input_config": DATA_INPUT_CONFIG}


def load(folder: Path) -> Run:
    with _deprecation_unsaid():
        model = torch.jit.load(str(folder / FILE), map_location="cpu")  # type: ignore[no-untyped-call]

    def run(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            logits: np.ndarray = model(torch.from_numpy(images).permute(0, 3, 1, 2).float()).numpy()
        return logits

    return run


@contextmanager
def _deprecation_unsaid() -> Iterator[None]:
    """torch prefers torch.export; Neo and libtorch take this."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", FutureWarning)
        # What it fears, numbers taken for constants, the comparison sees.
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)  # type: ignore[attr-defined]
        yield
