"""What the serving process carries: nothing that only training needs, and no torch until the model is loaded."""

from __future__ import annotations

import subprocess
import sys

FOR_TRAINING_ALONE = {"albumentations", "byoc_vision.training", "matplotlib", "pandas", "pyarrow", "torchmetrics"}


def imported_by(statement: str) -> set[str]:
    """The modules that a fresh Python has after a statement."""
    program = f"{statement}\nimport sys\nprint(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True)
    return set(done.stdout.split())


def test_the_server_answers_before_torch_is_there() -> None:
    modules = imported_by("import byoc_serve.run")
    assert "flask" in modules
    assert not modules & {"torch", "torchvision", "timm"}


def test_a_model_in_service_needs_nothing_of_training() -> None:
    modules = imported_by(
        "import byoc_serve.run, byoc_serve.model_service\n"
        "from byoc_vision.models.build import build_model\n"
        "from byoc_vision.types import ModelSpec\n"
        "build_model(ModelSpec(task='classification', architecture='resnet18', outputs=2))\n"
        "build_model(ModelSpec(task='segmentation', architecture='unet', encoder='resnet18', outputs=2))"
    )
    assert modules >= {"timm", "segmentation_models_pytorch"}
    assert not modules & FOR_TRAINING_ALONE
