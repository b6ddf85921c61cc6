"""The names of the formats; importing this module imports no library."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

FORMATS = ("onnx", "openvino", "torchscript", "torch-export")

INPUT, OUTPUT = "pictures", "logits"  # public: the names of the graph's input and output, if the format has names

Run = Callable[["np.ndarray"], "np.ndarray"]
"""An exported model: from images of the model's size, uint8 RGB [N, h, w, 3], to logits [N, K] or [N, K, h, w]."""
