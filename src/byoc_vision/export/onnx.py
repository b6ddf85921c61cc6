"""ONNX, in one file: for ONNX Runtime, TensorRT, Triton and most other runtimes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from byoc_vision.artifact import ModelConfig
from byoc_vision.errors import InputError
from byoc_vision.export import openvino
from byoc_vision.export.formats import INPUT, OUTPUT, Run
from byoc_vision.export.program import trace

FILE = "model.onnx"

_NEEDED = ("onnx", "onnxscript")


def write(net: nn.Module, config: ModelConfig, folder: Path) -> dict[str, Any]:
    """Write model.onnx, weights included. Returns the format's own entries of preprocessing.json."""
    _check_packages()
    program = torch.onnx.export(
        trace(net, config),
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes={INPUT: {0: "batch"}},
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    assert program is not None, "dynamo=True always returns a program"
    program.save(folder / FILE, external_data=False)
    return {"opset": program.model.opset_imports[""], "ir_version": program.model.ir_version}


def load(folder: Path) -> Run:
    """Load the model with ONNX Runtime if it is installed, else with OpenVINO, which reads ONNX too."""
    if importlib.util.find_spec("onnxruntime") is None:
        return openvino.load_file(folder / FILE)
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / FILE, providers=["CPUExecutionProvider"])

    def run(images: np.ndarray) -> np.ndarray:
        return np.asarray(session.run([OUTPUT], {INPUT: images})[0])

    return run


def _check_packages() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"the format onnx needs {' and '.join(missing)}: pip install 'byoc-vision[export]', "
            "or use another format (openvino, torchscript, torch-export)"
        )
