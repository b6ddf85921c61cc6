"""OpenVINO without its telemetry."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import cast


def import_openvino() -> ModuleType:
    """The package `openvino`, which from here on sends nothing.

    Where its dependency `openvino_telemetry` is installed, it reports its import, each conversion and what goes wrong
    in one, and no setting of its own turns that off. It does without where the dependency cannot be imported.
    """
    # None is how Python is told that a module is not there. One that is loaded already is not ours to take away.
    sys.modules.setdefault("openvino_telemetry", cast(ModuleType, None))
    return importlib.import_module("openvino")
