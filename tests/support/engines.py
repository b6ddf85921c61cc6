"""What OpenVINO makes of a precision on this machine."""

from __future__ import annotations

from pathlib import Path

from byoc_vision.artifact import OPENVINO_FOLDER
from byoc_vision.inference.engines.base import NamedPrecision
from byoc_vision.inference.engines.openvino_engine import OpenVinoEngine
from byoc_vision.inference.openvino_model import MODEL_FILE

FLOAT32 = "OpenVINO float32"


def openvino_name(artifact: Path, precision: NamedPrecision) -> str:
    """The name of the engine that is asked for a precision; bfloat16 takes AVX512."""
    try:
        return OpenVinoEngine(artifact / OPENVINO_FOLDER / MODEL_FILE, precision=precision).name
    except RuntimeError:  # below a restricted instruction set bfloat16 cannot even be compiled
        return FLOAT32
