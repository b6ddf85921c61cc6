"""Which engine computes an artifact's network here."""

from __future__ import annotations

import logging
import os
from functools import partial
from pathlib import Path

from byoc_vision import artifact
from byoc_vision.artifact import ModelConfig
from byoc_vision.errors import DataError, InputError
from byoc_vision.inference import openvino_model
from byoc_vision.inference.engines.base import NO_INT8, Engine, EngineName, EnginePrecision, TorchPrecision
from byoc_vision.inference.reference import reference_images
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

    engine: auto is PyTorch on a GPU. On a CPU it is OpenVINO, if the artifact holds what it reads and its logits are
    PyTorch's; otherwise PyTorch, in float32 unless another precision is named.
    streams: how many images OpenVINO computes apart.
    precision: auto on a CPU is the fastest that `choose_fastest` finds, on a GPU see `choose_precision`. Another than
    float32 is used only if its predictions are the expected ones; float32 otherwise. int8 is OpenVINO's alone.
    A damaged OpenVINO form beside good weights is not used, with a warning.
    Raises InputError for OpenVINO on a GPU and for int8 that is not there, DataError if the weights are damaged or
    OpenVINO or int8 was asked for and its logits differ, and what `choose_device` raises.
    """
    on_cpu = device == "cpu" or (device is None and visible_gpus(os.environ) == 0)
    if engine == "openvino" and device is not None and not on_cpu:
        raise InputError(f"engine=openvino computes on the CPU, not on {device}; take engine=torch or auto")
    load_form = partial(openvino_model.load, folder, config, threads, streams, precision)
    if precision == "int8":
        _check_can_int8(engine, device or ("cpu" if on_cpu else "a GPU"))
        if found := load_form():
            return found
        raise InputError(NO_INT8)
    if engine == "openvino":
        try:
            if found := load_form():
                return found
        except openvino_model.DamagedFormError as error:
            logger.warning("%s; OpenVINO computes what it makes of the weights instead", error)
        return _convert(folder, config, threads, streams, precision)
    if engine == "auto" and on_cpu:
        try:
            if found := load_form():
                return found
            precision = "float32" if precision == "auto" else precision
        except DataError as error:
            form = folder / artifact.OPENVINO_FOLDER
            logger.warning("%s: %s; PyTorch computes in float32 instead, several times slower", form, error)
            precision = "float32"
    return _load_torch(folder, config, device, threads, precision)


def _check_can_int8(engine: EngineName, device: str) -> None:
    """Raises InputError: only OpenVINO computes in int8, and nothing takes its place."""
    if engine == "torch" or (engine == "auto" and device != "cpu"):
        where = "engine=torch" if engine == "torch" else device
        raise InputError(
            f"precision=int8 is computed by OpenVINO on a CPU, not by {where}; set precision to auto (PRECISION of a "
            "server, --precision of a command), or engine to openvino (ENGINE of a server)"
        )


def _convert(
    folder: Path, config: ModelConfig, threads: int | None, streams: int, precision: EnginePrecision
) -> Engine:
    """OpenVINO's engine of an artifact that does not hold its form yet, which takes some seconds."""
    from byoc_vision.inference.engines.torch_engine import TorchEngine

    net = TorchEngine.load(folder, config, "cpu").net
    return openvino_model.convert(net, config, threads, streams, precision)


def _load_torch(
    folder: Path, config: ModelConfig, device: str | None, threads: int | None, precision: TorchPrecision
) -> Engine:
    """PyTorch's engine; in half precision only if that computes what float32 does."""
    from byoc_vision.inference.engines.torch_engine import TorchEngine

    engine = TorchEngine.load(folder, config, device, threads, precision)
    if engine.precision.is_mixed:
        engine.settle_precision(reference_images(config.preprocess), centred=config.activation == "softmax")
    return engine
