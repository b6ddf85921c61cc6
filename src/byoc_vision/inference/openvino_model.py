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
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from byoc_vision import checksums
from byoc_vision.artifact import OPENVINO_FOLDER, WEIGHTS_FILE, ModelConfig
from byoc_vision.atomic_write import write_whole
from byoc_vision.checksums import CHECKSUMS_FILE
from byoc_vision.errors import DataError
from byoc_vision.preprocess import Preprocess
from byoc_vision.system.machine import has_bfloat16
from byoc_vision.system.memory import is_out_of_memory
from byoc_vision.system.quiet_openvino import import_openvino

if TYPE_CHECKING:
    import openvino
    from torch import nn

    from byoc_vision.inference.engines.base import EnginePrecision, NamedPrecision
    from byoc_vision.inference.engines.openvino_engine import OpenVinoEngine

MODEL_FILE = "model.xml"
WEIGHTS_OF_MODEL_FILE = "model.bin"
REFERENCE_FILE = "reference.npz"
FILES = (MODEL_FILE, WEIGHTS_OF_MODEL_FILE, REFERENCE_FILE)

# How far the answers may lie from PyTorch's in float32: the root of the mean square, of the logits' own spread.
FLOAT32_TOLERANCE = 1e-3
BFLOAT16_TOLERANCE = 5e-2

MOST_POINTS = 4096  # of a mask's logits, for each class
_PIECE = 2**20

logger = logging.getLogger(__name__)


class DamagedFormError(DataError):
    """The OpenVINO form of an artifact is damaged; its weights may be whole."""


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
        _record_checksums(folder, beside)
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
    """The engine of the artifact in `folder`; None if it has none, or one of other weights.

    Raises DamagedFormError if it is damaged, DataError if it does not compute what PyTorch does; see
    `engine_that_agrees`. Raises PermissionError if it may not be read.
    """
    form = folder / OPENVINO_FOLDER
    if not (form.is_dir() and (folder / WEIGHTS_FILE).is_file()):  # PyTorch's loader says that weights are missing
        return None
    model = form / MODEL_FILE
    weights, expected = _read_reference(form / REFERENCE_FILE)
    if weights != digest(folder / WEIGHTS_FILE):
        logger.warning("%s was made from other weights than %s; it is not used", model, folder / WEIGHTS_FILE)
        return None
    _check_files(folder)
    try:
        return engine_that_agrees(model, config.preprocess, expected, threads, streams, precision)
    except (RuntimeError, ValueError) as error:  # of OpenVINO, and of logits of another shape
        if is_out_of_memory(error):
            raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise DamagedFormError(f"{model} is damaged, or OpenVINO cannot compute it here ({reason})") from error


def _record_checksums(folder: Path, form: Path) -> None:
    """Add the files of `form`, which moves into `folder` next, to the artifact's checksums."""
    if (digests := checksums.read(folder)) is not None:
        added = {f"{OPENVINO_FOLDER}/{name}": checksums.sha256(form / name) for name in FILES}
        write_whole(folder / CHECKSUMS_FILE, checksums.to_json(digests | added))


def _read_reference(path: Path) -> tuple[str, np.ndarray]:
    """The digest of the weights that the form was made from, and the expected logits; raises as `load` does."""
    try:
        # Opened here: numpy leaves a file open whose content it refuses.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            return str(content["weights"]), np.asarray(content["logits"], dtype=np.float32)
    except PermissionError:
        raise
    except (OSError, ValueError, LookupError, EOFError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error) as e:
        raise DamagedFormError(f"{path} is missing or damaged ({type(e).__name__}: {e})") from e


def _check_files(folder: Path) -> None:
    """Whether the files can be read and are what was saved; OpenVINO's errors would not say so. Raises as `load`."""
    for file in FILES:
        try:
            (folder / OPENVINO_FOLDER / file).open("rb").close()
        except PermissionError:
            raise
        except OSError as error:
            raise DamagedFormError(f"{folder / OPENVINO_FOLDER / file} is missing ({error.strerror})") from error
    if (digests := checksums.read(folder)) is not None:
        try:
            checksums.verify(folder, digests, [f"{OPENVINO_FOLDER}/{name}" for name in FILES])
        except DataError as error:
            raise DamagedFormError(str(error)) from error


def engine_that_agrees(
    model: openvino.Model | Path,
    rule: Preprocess,
    expected: np.ndarray,
    threads: int | None = None,
    streams: int = 1,
    precision: EnginePrecision = "auto",
) -> OpenVinoEngine:
    """The engine in the precision asked for, if its answers are PyTorch's; otherwise in float32, with a warning.

    precision: auto is the fastest here of those whose answers are PyTorch's; see `choose_fastest`.
    Raises DataError if those in float32 are not PyTorch's either.
    """
    from byoc_vision.inference.engines.fastest import choose_fastest

    load_in = partial(_load_and_compare, model, rule, expected, threads, streams)
    if precision == "bfloat16":
        return _bfloat16_unless_it_fails(load_in) or load_in("float32")
    engines = [load_in("float32")]
    if precision == "auto" and has_bfloat16():
        other = _bfloat16_unless_it_fails(load_in)
        engines += [other] if other is not None and not other.exact else []
    # So many images as under load; `compare` has run as many, so the kernels are there.
    return choose_fastest(engines, reference_image(rule).repeat(engines[0].streams, axis=0))


def _bfloat16_unless_it_fails(load_in: Callable[[NamedPrecision], OpenVinoEngine]) -> OpenVinoEngine | None:
    """The engine in bfloat16; None, with a warning that says why, if float32 must take its place."""
    try:
        return load_in("bfloat16")
    except DataError as error:
        logger.warning("%s; OpenVINO computes in float32 instead", error)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        logger.warning("OpenVINO cannot compile the network in bfloat16 (%s); it computes in float32 instead", reason)
    return None


def _load_and_compare(
    model: openvino.Model | Path,
    rule: Preprocess,
    expected: np.ndarray,
    threads: int | None,
    streams: int,
    precision: NamedPrecision,
) -> OpenVinoEngine:
    from byoc_vision.inference.engines.openvino_engine import OpenVinoEngine

    engine = OpenVinoEngine(model, threads, streams, precision)
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
