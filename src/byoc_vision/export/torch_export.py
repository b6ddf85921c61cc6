"""PyTorch's own format, torch.export: PyTorch of the same or a newer version loads it without this package."""

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
    """Write model.pt2. The format adds no entries to preprocessing.json."""
    with warnings.catch_warnings():
        # Several views of one tensor (as in SegFormer's encoder) are stored as one. `compare` checks the result.
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
