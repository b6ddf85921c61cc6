"""Which engine computes an artifact's network here."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from byoc_vision import artifact
from byoc_vision.artifact import ModelConfig
from byoc_vision.errors import DataError, InputError
from byoc_vision.inference import openvino_model
from byoc_vision.inference.engines.base import Engine, EngineName, EnginePrecision
from byoc_vision.system.machine import visible_gpus

logger = logging.getLogger(__name__)


def load_engine(
    folder: Path,
    config: ModelConfig,
    device: str | None = None,
    engine: EngineName = "auto",
    threads: int | None = None,
    streams: int = 1,
    precision: EnginePrecision = "auto",
) -> Engine:
    """The engine of the artifact in `folder`.

    engine: auto is PyTorch on a GPU. On a CPU it is OpenVINO, if the artifact holds what it reads and its answers are
    PyTorch's; otherwise PyTorch, in float32 unless another precision is named.
    streams: how many images OpenVINO computes apart.
    precision: auto on a CPU is the fastest that `choose_fastest` finds, on a GPU see `choose_precision`. Another than
    float32 is used only if its predictions are PyTorch's in float32; float32 otherwise.
    A damaged OpenVINO form beside good weights is not used, with a warning.
    Raises InputError for OpenVINO on a GPU, DataError if the weights are damaged or OpenVINO was asked for and its
    answers differ, and what `choose_device` raises.
    """
    on_cpu = device == "cpu" or (device is None and visible_gpus(os.environ) == 0)
    if engine == "openvino" and device is not None and not on_cpu:
        raise InputError(f"engine=openvino computes on the CPU, not on {device}; take engine=torch or auto")
    if engine == "openvino":
        found = None
        try:
            found = openvino_model.load(folder, config, threads, streams, precision)
        except openvino_model.DamagedFormError as error:
            logger.warning("%s; OpenVINO computes what it makes of the weights instead", error)
        return found or _convert(folder, config, threads, streams, precision)
    if engine == "auto" and on_cpu:
        try:
            if found := openvino_model.load(folder, config, threads, streams, precision):
                return found
            precision = "float32" if precision == "auto" else precision
        except DataError as error:
            form = folder / artifact.OPENVINO_FOLDER
            logger.warning("%s: %s; PyTorch computes in float32 instead, several times slower", form, error)
            precision = "float32"
    from byoc_vision.inference.engines.torch_engine import TorchEngine

    torch_engine = TorchEngine.load(folder, config, device, threads, precision)
    if torch_engine.precision.is_mixed:
        torch_engine.settle_precision(openvino_model.reference_image(config.preprocess))
    return torch_engine


def _convert(
    folder: Path, config: ModelConfig, threads: int | None, streams: int, precision: EnginePrecision
) -> Engine:
    """OpenVINO's engine of an artifact that does not hold it yet, which takes some seconds."""
    from byoc_vision.export.openvino import to_openvino
    from byoc_vision.inference.engines.torch_engine import TorchEngine

    net = TorchEngine.load(folder, config, "cpu").net
    expected = openvino_model.expected_logits(net, config)
    model = to_openvino(net, config)
    return openvino_model.engine_that_agrees(model, config.preprocess, expected, threads, streams, precision)
