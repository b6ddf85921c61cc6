"""What OpenVINO makes of a precision on this machine."""

from __future__ import annotations

from pathlib import Path

from byoc_vision.artifact import OPENVINO_FOLDER
from byoc_vision.inference.compiled import MODEL_FILE
from byoc_vision.inference.engines.base import EnginePrecision
from byoc_vision.inference.engines.openvino_engine import OpenVinoEngine

FLOAT32 = "OpenVINO float32"


def openvino_name(artifact: Path, precision: EnginePrecision) -> str:
    """The name of the engine that is asked for a precision; bfloat16 takes AVX512."""
    try:
        return OpenVinoEngine(artifact / OPENVINO_FOLDER / MODEL_FILE, precision=precision).name
    except RuntimeError:  # below a restricted instruction set bfloat16 cannot even be compiled
        return FLOAT32
