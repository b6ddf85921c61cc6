"""Which engine computes an artifact's network here."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from byoc_vision import artifact
from byoc_vision.artifact import ModelConfig
from byoc_vision.errors import DataError, InputError
from byoc_vision.inference import compiled
from byoc_vision.inference.engines.base import Engine, EngineName
from byoc_vision.system.machine import visible_gpus

logger = logging.getLogger(__name__)


def load_engine(
    folder: Path,
    config: ModelConfig,
    device: str | None = None,
    engine: EngineName = "auto",
    threads: int | None = None,
    lanes: int = 1,
) -> Engine:
    """The engine of the artifact in `folder`.

    auto: PyTorch on a GPU. On a CPU OpenVINO, where the artifact holds what it reads and its answers are PyTorch's;
    PyTorch otherwise.
    lanes: how many images OpenVINO computes apart.
    Raises InputError for OpenVINO on a GPU, DataError where the artifact is damaged or OpenVINO was asked for and its
    answers differ, and what `choose_device` raises.
    """
    on_cpu = device == "cpu" or (device is None and visible_gpus(os.environ) == 0)
    if engine == "openvino" and device is not None and not on_cpu:
        raise InputError(f"engine=openvino computes on the CPU, not on {device}; take engine=torch or auto")
    if engine == "openvino":
        return compiled.load(folder, config, threads, lanes) or _convert(folder, config, threads, lanes)
    if engine == "auto" and on_cpu:
        try:
            if found := compiled.load(folder, config, threads, lanes):
                return found
        except DataError as error:
            logger.warning(
                "%s: %s; PyTorch does the work, several times slower", folder / artifact.OPENVINO_FOLDER, error
            )
    from byoc_vision.inference.engines.torch_engine import TorchEngine

    return TorchEngine.load(folder, config, device, threads)


def _convert(folder: Path, config: ModelConfig, threads: int | None, lanes: int) -> Engine:
    """OpenVINO's engine of an artifact that does not hold it yet, which takes some seconds."""
    from byoc_vision.export.openvino import to_openvino
    from byoc_vision.inference.engines.openvino_engine import OpenVinoEngine
    from byoc_vision.inference.engines.torch_engine import TorchEngine

    net = TorchEngine.load(folder, config, "cpu").net
    expected = compiled.expected_logits(net, config)
    engine = OpenVinoEngine(to_openvino(net, config), threads, lanes)
    compiled.compare(engine, config.preprocess, expected)
    return engine
