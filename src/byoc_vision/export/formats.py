"""The formats, as far as they can be known without any library."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

FORMATS = ("onnx", "openvino", "torchscript", "torch-export")

INPUT, OUTPUT = "pictures", "logits"  # the names of the graph's ends, where the format has names

Run = Callable[["np.ndarray"], "np.ndarray"]
"""An exported model: images of the model's size, uint8 RGB [N, h, w, 3], to logits, [N, K] or [N, K, h, w]."""
