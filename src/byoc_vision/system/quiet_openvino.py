"""OpenVINO without telemetry."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import cast


def import_openvino() -> ModuleType:
    """The package `openvino`, without telemetry.

    If its dependency `openvino_telemetry` is installed, it reports its import, each conversion and its errors, and has
    no setting against that. OpenVINO works without the dependency.
    """
    # None makes an import of the module fail. A module that is loaded already stays.
    sys.modules.setdefault("openvino_telemetry", cast(ModuleType, None))
    return importlib.import_module("openvino")
