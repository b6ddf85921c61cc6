"""OpenVINO's format: the server uses it on CPUs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from byoc_vision.artifact import ModelConfig
from byoc_vision.export.conversion import conversion
from byoc_vision.export.formats import INPUT, OUTPUT, Run
from byoc_vision.export.program import trace
from byoc_vision.system.quiet_openvino import import_openvino

if TYPE_CHECKING:
    import openvino

FILE = "model.xml"  # its weights are in model.bin


def to_openvino(net: nn.Module, config: ModelConfig) -> openvino.Model:
    """Convert a network to OpenVINO; the normalisation is part of the result, and its weights are float32.

    Input: uint8 RGB [N, h, w, 3] of the model config's size, for any N. Output: float32 [N, K] or [N, K, h, w].
    `net` does not change; it may be in training mode or on a GPU.

    Raises:
        ConversionError: OpenVINO does not support one of the operations.
    """
    ov = import_openvino()
    with conversion(config, "openvino"), restored_logging():
        model = ov.convert_model(trace(net, config))
        model.reshape([-1, config.preprocess.height, config.preprocess.width, config.preprocess.channels])
    model.input(0).set_names({INPUT})
    model.output(0).set_names({OUTPUT})
    return model


@contextmanager
def restored_logging() -> Iterator[None]:
    """Restores the root logger: after a failed conversion, OpenVINO leaves it at the level ERROR."""
    root = logging.getLogger()
    level, filters, handlers = root.level, list(root.filters), list(root.handlers)
    try:
        yield
    finally:
        root.setLevel(level)
        root.filters[:], root.handlers[:] = filters, handlers


def write(net: nn.Module, config: ModelConfig, folder: Path) -> dict[str, Any]:
    """Write model.xml and model.bin. Returns the format's own entries of preprocessing.json."""
    ov = import_openvino()
    ov.save_model(to_openvino(net, config), folder / FILE, compress_to_fp16=False)
    return {"weights": "model.bin", "openvino": ov.__version__}


def load(folder: Path) -> Run:
    return load_file(folder / FILE)


def load_file(file: Path) -> Run:
    """Load an OpenVINO or ONNX file as a function that computes in float32, even on processors with bfloat16."""
    compiled = import_openvino().compile_model(str(file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(images: np.ndarray) -> np.ndarray:
        return np.array(compiled(images)[0])

    return run
