"""`byoc-vision tune` with one real trial; tests/tuning has the whole of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from byoc_vision import artifact
from byoc_vision.cli import main
from byoc_vision.data.sample_data import make_classification_set

RECIPE = {"model": "test_resnet", "image_size": "32", "batch_size": "4", "epochs": "1", "num_workers": "0"}


def test_a_search_leaves_a_model_and_its_hyperparameters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_classification_set(tmp_path / "shapes", count_train=8, count_validation=4, size=40)
    recipe, output = tmp_path / "recipe.json", tmp_path / "out"
    recipe.write_text(json.dumps(RECIPE | {"openvino": "false", "report": "false"}))
    command = ["tune", "--recipe", str(recipe), "--data", str(tmp_path / "shapes"), "--output", str(output)]
    assert main([*command, "--trials", "1"]) == 0
    said = capsys.readouterr().out
    assert "trial 0: validation:accuracy=" in said

    metrics = artifact.read_config(output / "model").metrics
    found = json.loads((output / "best_hyperparameters.json").read_text())
    assert f"validation:accuracy={metrics['validation:accuracy']:.4f}" in said
    assert (found["task"], found["epochs"], found["objective"]) == ("classification", "1", "accuracy")
    assert (output / "tuning.html").exists()
    assert not (output / "report.html").exists()

    assert main([*command, "--trials", "1"]) == 0, "there is nothing left to do"
    assert "1 of them finished" in capsys.readouterr().out
