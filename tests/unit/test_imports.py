"""What is imported before it is needed: seconds that every start of a job would take."""

from __future__ import annotations

import subprocess
import sys

import pytest

TORCH = {"torch"}
LATER = {
    "albumentations",
    "matplotlib",
    "pandas",
    "scipy",
    "segmentation_models_pytorch",
    "timm",
    "torchmetrics",
    "torchvision",
}


@pytest.mark.parametrize(
    ("module", "unneeded"),
    [
        ("byoc_vision.cli", LATER | TORCH | {"cv2", "numpy", "pydantic"}),
        ("byoc_vision.training.entry", LATER),
        ("byoc_vision.training.run", LATER),
        ("byoc_vision.inference.predictor", LATER),
    ],
)
def test_importing_leaves_what_is_not_needed_yet(module: str, unneeded: set[str]) -> None:
    program = f"import sys, {module}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "byoc_vision" in loaded
    assert not unneeded & set(loaded)
