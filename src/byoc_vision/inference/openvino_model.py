"""The network of an artifact as OpenVINO reads it, beside its weights: a server on a CPU then needs no torch.

A folder `openvino` in the artifact:

    model.xml, model.bin            the network, its weights in float32
    reference.npz                   whose weights they are, and what PyTorch computes in float32 for drawn images
    int8.xml, int8.bin, int8.npz    the network quantised, if a job certified it, and what it computed there
    precisions.json                 the validation metrics of each precision, as the job measured them

Older images ignore the files of the last two lines.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from byoc_vision import artifact, checksums
from byoc_vision.artifact import OPENVINO_FOLDER, WEIGHTS_FILE, ModelConfig
from byoc_vision.atomic_write import give_usual_mode, write_whole
from byoc_vision.checksums import CHECKSUMS_FILE
from byoc_vision.errors import DataError, UserError, error_lines
from byoc_vision.inference.openvino_precision import Network, load_engine_in
from byoc_vision.inference.reference import compare, engine_logits, expected_logits
from byoc_vision.system.memory import is_out_of_memory
from byoc_vision.system.quiet_openvino import import_openvino

if TYPE_CHECKING:
    import openvino
    from torch import nn

    from byoc_vision.inference.engines.base import EnginePrecision
    from byoc_vision.inference.engines.openvino_engine import OpenVinoEngine

MODEL_FILE = "model.xml"
WEIGHTS_OF_MODEL_FILE = "model.bin"
REFERENCE_FILE = "reference.npz"
FILES = (MODEL_FILE, WEIGHTS_OF_MODEL_FILE, REFERENCE_FILE)
INT8_MODEL_FILE = "int8.xml"
INT8_REFERENCE_FILE = "int8.npz"
INT8_FILES = (INT8_MODEL_FILE, "int8.bin", INT8_REFERENCE_FILE)
PRECISIONS_FILE = "precisions.json"

_NO_FORM = "The model has no OpenVINO form, and CPUs serve it more slowly: %s"

logger = logging.getLogger(__name__)


class DamagedFormError(DataError):
    """The OpenVINO form of an artifact is damaged; its weights may be whole."""


def write(folder: Path, config: ModelConfig, net: nn.Module) -> None:
    """Put the network beside the artifact's weights in `folder`, once its logits are PyTorch's.

    They are compared in float32: whether the form is right does not depend on the fastest precision of this machine.

    Raises ConversionError if OpenVINO cannot compute it, DataError if it computes something else; nothing is
    written then.
    """
    from byoc_vision.export.conversion import conversion
    from byoc_vision.export.openvino import to_openvino
    from byoc_vision.inference.engines.openvino_engine import OpenVinoEngine

    expected = expected_logits(net, config)
    with conversion(config, "openvino"):
        model = to_openvino(net, config)
        engine = OpenVinoEngine(model, precision="float32")
    compare(engine, config, expected, "PyTorch does")
    weights = folder / WEIGHTS_FILE
    with _scratch(folder) as beside:
        import_openvino().save_model(model, beside / MODEL_FILE, compress_to_fp16=False)
        belongs = {"weights": digest(weights), "sha256": checksums.sha256(weights)}
        np.savez(beside / REFERENCE_FILE, **belongs, **_by_name(expected))  # type: ignore[arg-type]
        shutil.rmtree(folder / OPENVINO_FOLDER, ignore_errors=True)
        _record_checksums(folder, beside, FILES)
        os.replace(beside, folder / OPENVINO_FOLDER)


def export_openvino(folder: Path) -> bool:
    """Write the network of the artifact in `folder` beside its weights as OpenVINO reads it. Returns whether it did.

    It is optional, and no error of it fails a job. If it fails, or the job is killed meanwhile, the
    model is complete, and PyTorch serves it.
    """
    from byoc_vision.inference.engines.torch_engine import TorchEngine

    started = time.monotonic()
    try:
        config = artifact.read_config(folder)
        write(folder, config, TorchEngine.load(folder, config, "cpu").net)
    except (UserError, OSError, MemoryError) as error:
        logger.warning(_NO_FORM, error or type(error).__name__)
    except Exception as error:  # OpenVINO's own errors, also of a full disk, have no class in common
        logger.warning(_NO_FORM, error, exc_info=True)
    else:
        logger.info("Exported the OpenVINO model (%.1f s)", time.monotonic() - started)
        return True
    return False


def add_int8(folder: Path, config: ModelConfig, model: openvino.Model) -> None:
    """Put a quantised network into the form in `folder`. It counts once checksums.json lists it."""
    from byoc_vision.inference.engines.openvino_engine import OpenVinoEngine

    with _scratch(folder) as beside:
        import_openvino().save_model(model, beside / INT8_MODEL_FILE, compress_to_fp16=False)
        engine = OpenVinoEngine(beside / INT8_MODEL_FILE, precision="int8")
        np.savez(beside / INT8_REFERENCE_FILE, **_by_name(engine_logits(engine, config)))  # type: ignore[arg-type]
        for name in INT8_FILES:
            give_usual_mode(beside / name)
            os.replace(beside / name, folder / OPENVINO_FOLDER / name)
    _record_checksums(folder, folder / OPENVINO_FOLDER, INT8_FILES)


def write_precisions(folder: Path, content: dict[str, Any]) -> None:
    """Record the metrics of each precision in the form in `folder`."""
    form = folder / OPENVINO_FOLDER
    write_whole(form / PRECISIONS_FILE, json.dumps(content, indent=2) + "\n")
    _record_checksums(folder, form, [PRECISIONS_FILE])


def load(
    folder: Path,
    config: ModelConfig,
    threads: int | None = None,
    streams: int = 1,
    precision: EnginePrecision = "auto",
) -> OpenVinoEngine | None:
    """The engine of the artifact in `folder`; None if it has none, or one of other weights.

    Raises DamagedFormError if it is damaged, DataError if it does not compute what PyTorch does, InputError if int8 is
    asked for and it has none; see `load_engine_in`. Raises PermissionError if it may not be read.
    """
    form = folder / OPENVINO_FOLDER
    if not (form.is_dir() and (folder / WEIGHTS_FILE).is_file()):  # PyTorch's loader says that weights are missing
        return None
    model = form / MODEL_FILE
    reference = _read_arrays(form / REFERENCE_FILE, "logits", "weights")
    digests = checksums.read(folder)
    if not _belongs(reference, folder, digests):
        logger.warning("%s was made from other weights than %s; it is not used", model, folder / WEIGHTS_FILE)
        return None
    _check_files(folder, digests, FILES)
    try:
        network = Network(model, config, _logits(reference), *_int8(folder, digests, precision))
        return load_engine_in(precision, network, threads, streams)
    except (RuntimeError, ValueError) as error:  # of OpenVINO, and of logits of another shape
        if is_out_of_memory(error):
            raise
        reason = error_lines(error)[-1]
        raise DamagedFormError(f"{model} is damaged, or OpenVINO cannot compute it here ({reason})") from error


def convert(
    net: nn.Module, config: ModelConfig, threads: int | None, streams: int, precision: EnginePrecision
) -> OpenVinoEngine:
    """The engine of a network that has no OpenVINO form yet, which takes some seconds. Raises as `load`."""
    from byoc_vision.export.openvino import to_openvino

    network = Network(to_openvino(net, config), config, expected_logits(net, config))
    return load_engine_in(precision, network, threads, streams)


def _int8(
    folder: Path, digests: dict[str, str] | None, precision: EnginePrecision
) -> tuple[Path | None, list[np.ndarray]]:
    """The quantised network, if it is wanted and there, and what it is to compute.

    Damaged, it is left out with a warning, unless it alone is wanted: then this raises as `load` does.
    """
    if precision not in ("auto", "int8") or not has_int8(folder, digests):
        return None, []
    form = folder / OPENVINO_FOLDER
    try:
        _check_files(folder, digests, INT8_FILES)
        return form / INT8_MODEL_FILE, _logits(_read_arrays(form / INT8_REFERENCE_FILE, "logits"))
    except DamagedFormError as error:
        if precision == "int8":
            raise
        logger.warning("%s; it is served without int8", error)
        return None, []


def has_int8(folder: Path, digests: dict[str, str] | None) -> bool:
    """Whether the artifact has a quantised network: one that is complete. digests: of its checksums.json."""
    if digests is not None:
        return f"{OPENVINO_FOLDER}/{INT8_REFERENCE_FILE}" in digests
    return (folder / OPENVINO_FOLDER / INT8_REFERENCE_FILE).exists()


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A new folder beside the form, on the same disk; what is left of it is removed."""
    with tempfile.TemporaryDirectory(prefix=".saving-", dir=folder, ignore_cleanup_errors=True) as scratch:
        beside = Path(scratch, OPENVINO_FOLDER)
        beside.mkdir()
        yield beside


def _record_checksums(folder: Path, form: Path, names: Iterable[str]) -> None:
    """Add files of `form`, which is in `folder` or moves there next, to the artifact's checksums."""
    if (digests := checksums.read(folder)) is not None:
        added = {f"{OPENVINO_FOLDER}/{name}": checksums.sha256(form / name) for name in names}
        write_whole(folder / CHECKSUMS_FILE, checksums.to_json(digests | added))


def _belongs(reference: dict[str, np.ndarray], folder: Path, digests: dict[str, str] | None) -> bool:
    """Whether the form was made from the weights in `folder`. reference: has their digest and, if newer, their SHA-256.

    If both files name the weights' SHA-256 it is not computed here: `artifact.verified_beside` compares the weights
    with it in any case.
    """
    if "sha256" in reference and digests is not None and WEIGHTS_FILE in digests:
        return str(reference["sha256"]) == digests[WEIGHTS_FILE]
    return str(reference["weights"]) == digest(folder / WEIGHTS_FILE)


def _by_name(logits: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Those of the first image are called as in artifacts that have no others."""
    return {"logits": logits[0], **{f"logits_{index}": each for index, each in enumerate(logits[1:], 1)}}


def _logits(arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    return [arrays[name] for name in sorted(arrays) if name.startswith("logits")]


def _read_arrays(path: Path, *needed: str) -> dict[str, np.ndarray]:
    """The file's arrays, those of logits as float32; raises as `load` does, also if one that is needed is not there."""
    try:
        # Opened here: numpy leaves a file open whose content it refuses.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            found = {name: content[name] for name in content.files}
            found |= {name: np.asarray(found[name], np.float32) for name in found if name.startswith("logits")}
            if missing := [name for name in needed if name not in found]:
                raise LookupError(f"no {missing[0]}")
            return found
    except PermissionError:
        raise
    except (OSError, ValueError, LookupError, EOFError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error) as e:
        raise DamagedFormError(f"{path} is missing or damaged ({type(e).__name__}: {e})") from e


def _check_files(folder: Path, digests: dict[str, str] | None, names: Iterable[str]) -> None:
    """Whether the files can be read and are what was saved; OpenVINO's errors would not say so. Raises as `load`."""
    for file in names:
        try:
            (folder / OPENVINO_FOLDER / file).open("rb").close()
        except PermissionError:
            raise
        except OSError as error:
            raise DamagedFormError(f"{folder / OPENVINO_FOLDER / file} is missing ({error.strerror})") from error
    if digests is not None:
        try:
            checksums.verify(folder, digests, [f"{OPENVINO_FOLDER}/{name}" for name in names])
        except DataError as error:
            raise DamagedFormError(str(error)) from error


def digest(path: Path) -> str:
    """Of a file's content. Artifacts from before `sha256` was in the reference have it alone."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
