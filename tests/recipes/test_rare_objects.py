"""Objects that few images show, and few pixels of these: a loss that every other image pays for would hide them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
from support.jobs import read_metrics, run_train, write_hyperparameters
from support.recipes import weights

from byoc_vision.paths import MlPaths

pytestmark = pytest.mark.real_data

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.timeout(600)
def test_parts_of_cars_in_a_ninth_of_the_patches_are_found(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    paths = MlPaths(tmp_path / "ml")
    import_module("recipe_data").rare_cars(shared_data, paths.channels)
    weights(shared_data, "mobilenet_v2.torchvision.safetensors", paths.channel("pretrained"))
    given = {"model": "unet", "encoder": "mobilenet_v2", "pretrained": "true", "image_size": "128", "epochs": "4"}
    write_hyperparameters(paths, given | {"batch_size": "8"})
    assert run_train(paths) == 0
    results = read_metrics(paths)
    assert results["objective"] == "validation:miou", "finding nothing has a Dice of 0.89"
    assert results["validation"]["iou_foreground"] > 0.1
