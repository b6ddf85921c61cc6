"""PyTorch's own format, torch.export: for PyTorch of the same version or a newer one, without this package."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from byoc_vision.artifact import ModelConfig
from byoc_vision.export.formats import Run
from byoc_vision.export.program import trace

FILE = "model.pt2"


def write(net: nn.Module, config: ModelConfig, folder: Path) -> dict[str, Any]:
    """Write model.pt2; what the description says of it."""
    with warnings.catch_warnings():
        # Views of one tensor (SegFormer's encoder has some) are stored as one of them. The comparison sees to it.
        warnings.filterwarnings("ignore", "No complete tensor found", UserWarning)
        torch.export.save(trace(net, config), folder / FILE)
    return {}


def load(folder: Path) -> Run:
    model = torch.export.load(folder / FILE).module()

    def run(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            logits: np.ndarray = model(torch.from_numpy(images)).numpy()
        return logits

    return run
