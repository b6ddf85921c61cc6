"""The network of an artifact as OpenVINO reads it, beside its weights: a server on a CPU then needs no torch.

A folder `openvino` in the artifact: `model.xml` and `model.bin`, and `reference.npz` with the digest of the weights it
was made from and what PyTorch computes in float32 for one image, so that a loader can compare.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from byoc_vision.artifact import OPENVINO_FOLDER, WEIGHTS_FILE, ModelConfig
from byoc_vision.errors import DataError
from byoc_vision.preprocess import Preprocess
from byoc_vision.system.quiet_openvino import import_openvino

if TYPE_CHECKING:
    import openvino
    from torch import nn

    from byoc_vision.inference.engines.base import EnginePrecision
    from byoc_vision.inference.engines.openvino_engine import OpenVinoEngine

MODEL_FILE = "model.xml"
REFERENCE_FILE = "reference.npz"

# How far the answers may lie from PyTorch's in float32: the root of the mean square, of the logits' own spread.
FLOAT32_TOLERANCE = 1e-3
BFLOAT16_TOLERANCE = 5e-2

MOST_POINTS = 4096  # of a mask's logits, for each class
_PIECE = 2**20

logger = logging.getLogger(__name__)


def write(folder: Path, config: ModelConfig, net: nn.Module) -> None:
    """Put the network beside the artifact's weights in `folder`, once its answers are PyTorch's.

    They are compared in float32: whether the form is right does not depend on what this machine is fastest in.

    Raises ConversionError where OpenVINO cannot compute it, DataError where it computes something else; nothing is
    written then.
    """
    from byoc_vision.export.conversion import conversion
    from byoc_vision.export.openvino import to_openvino
    from byoc_vision.inference.engines.openvino_engine import OpenVinoEngine

    expected = expected_logits(net, config)
    with conversion(config, "openvino"):
        model = to_openvino(net, config)
        engine = OpenVinoEngine(model, precision="float32")
    compare(engine, config.preprocess, expected)
    scratch = Path(tempfile.mkdtemp(prefix=".saving-", dir=folder))
    try:
        beside = scratch / OPENVINO_FOLDER
        beside.mkdir()
        import_openvino().save_model(model, beside / MODEL_FILE, compress_to_fp16=False)
        np.savez(beside / REFERENCE_FILE, weights=digest(folder / WEIGHTS_FILE), logits=expected)
        shutil.rmtree(folder / OPENVINO_FOLDER, ignore_errors=True)
        os.replace(beside, folder / OPENVINO_FOLDER)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def load(
    folder: Path,
    config: ModelConfig,
    threads: int | None = None,
    streams: int = 1,
    precision: EnginePrecision = "auto",
) -> OpenVinoEngine | None:
    """The engine of the artifact in `folder`; None where it has none, or one of other weights.

    Raises DataError where it does not compute what PyTorch does; see `first_that_agrees`.
    """
    model, reference = folder / OPENVINO_FOLDER / MODEL_FILE, folder / OPENVINO_FOLDER / REFERENCE_FILE
    if not (model.is_file() and reference.is_file()):
        return None
    for file in (model, model.with_suffix(".bin")):
        file.open("rb").close()  # OpenVINO's error would not say why
    with np.load(reference, allow_pickle=False) as content:
        weights, expected = str(content["weights"]), content["logits"]
    if weights != digest(folder / WEIGHTS_FILE):
        logger.warning("%s was made from other weights than %s; it is not used", model, folder / WEIGHTS_FILE)
        return None
    return first_that_agrees(model, config.preprocess, expected, threads, streams, precision)


def first_that_agrees(
    model: openvino.Model | Path,
    rule: Preprocess,
    expected: np.ndarray,
    threads: int | None = None,
    streams: int = 1,
    precision: EnginePrecision = "auto",
) -> OpenVinoEngine:
    """The engine in the precision asked for, if its answers are PyTorch's; otherwise in float32, with a warning.

    Raises DataError if those in float32 are not PyTorch's either.
    """
    from byoc_vision.inference.engines.openvino_engine import OpenVinoEngine, choose_cpu_precision

    if choose_cpu_precision(precision) != "float32":
        try:
            engine = OpenVinoEngine(model, threads, streams, precision)
            compare(engine, rule, expected)
            return engine
        except DataError as error:
            logger.warning("%s; OpenVINO computes in float32 instead", error)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            logger.warning(
                "OpenVINO cannot compile the network in bfloat16 (%s); it computes in float32 instead", reason
            )
    engine = OpenVinoEngine(model, threads, streams, "float32")
    compare(engine, rule, expected)
    return engine


def compare(engine: OpenVinoEngine, rule: Preprocess, expected: np.ndarray) -> None:
    """Raises DataError where the engine's answer to the reference image, alone or in a batch, is not the expected."""
    image = reference_image(rule)
    for count in sorted({1, engine.streams}):
        _compare_each(engine, engine.run(image.repeat(count, axis=0)), expected)


def _compare_each(engine: OpenVinoEngine, answers: np.ndarray, expected: np.ndarray) -> None:
    tolerance = FLOAT32_TOLERANCE if engine.exact else BFLOAT16_TOLERANCE
    found = np.stack([points(logits) for logits in answers])
    distance = max(float(np.sqrt(np.mean((each - expected) ** 2))) for each in found)
    spread = float(np.sqrt(np.mean(expected**2)))
    if not distance <= tolerance * max(spread, 1e-6):
        raise DataError(
            f"{engine.name} does not answer what PyTorch does: {distance:.3g} apart where logits are about {spread:.3g}"
        )


def expected_logits(net: nn.Module, config: ModelConfig) -> np.ndarray:
    """What PyTorch computes for the reference image, in float32 on the CPU."""
    import copy

    import torch

    from byoc_vision.inference.engines.torch_engine import TorchEngine
    from byoc_vision.precision import choose_precision

    cpu = torch.device("cpu")
    engine = TorchEngine(copy.deepcopy(net), config, cpu, choose_precision("float32", cpu))
    logits = engine.run(reference_image(config.preprocess))
    assert isinstance(logits, np.ndarray)
    return points(logits[0])


def reference_image(rule: Preprocess) -> np.ndarray:
    """An image with smooth and rough parts, uint8 [1, h, w, 3]; reckoned, so that it is the same everywhere."""
    rows, columns = np.mgrid[: rule.height, : rule.width]
    channels = [rows * 5 + columns * 3 * channel + rows * columns // (7 + channel) for channel in range(3)]
    return (np.stack(channels, axis=-1) % 256).astype(np.uint8)[None]


def points(logits: np.ndarray) -> np.ndarray:
    """Logits [K] as they are; of [K, h, w] enough to tell by."""
    if logits.ndim == 1:
        return logits
    step = max(1, int(np.ceil(np.sqrt(logits.shape[1] * logits.shape[2] / MOST_POINTS))))
    return np.ascontiguousarray(logits[:, ::step, ::step])


def digest(path: Path) -> str:
    """Of a file's content."""
    state = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            state.update(piece)
    return state.hexdigest()
