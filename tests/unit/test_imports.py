"""What is imported before it is needed: seconds that every start of a job would take."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

TORCH = {"torch"}
LATER = {
    "albumentations",
    "bokeh",
    "matplotlib",
    "mlflow",
    "optuna",
    "pandas",
    "scipy",
    "segmentation_models_pytorch",
    "tensorboard",
    "timm",
    "torchmetrics",
    "torchvision",
}


# Imported one after the other, those first that need the least.
UNNEEDED = {
    "byoc_vision.cli": LATER | TORCH | {"cv2", "numpy", "pydantic"},
    "byoc_vision.client": LATER | TORCH | {"boto3", "cv2", "pydantic"},
    "byoc_vision.report.page": LATER | TORCH,
    "byoc_vision.training.main": LATER,
    "byoc_vision.inference.predictor": LATER,
    "byoc_vision.training.build": LATER,
}


@pytest.fixture(scope="module")
def loaded() -> dict[str, set[str]]:
    """What is there after each of the modules is imported, in one process: that is more than it imports by itself."""
    program = """if True:
        import importlib, json, sys
        for module in sys.argv[1:]:
            importlib.import_module(module)
            print(json.dumps([module, sorted({name.partition(".")[0] for name in sys.modules})]))
    """
    done = subprocess.run([sys.executable, "-c", program, *UNNEEDED], capture_output=True, text=True, check=True)
    return {module: set(names) for module, names in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("module", UNNEEDED)
def test_importing_leaves_what_is_not_needed_yet(module: str, loaded: dict[str, set[str]]) -> None:
    assert "byoc_vision" in loaded[module]
    assert not UNNEEDED[module] & loaded[module]
