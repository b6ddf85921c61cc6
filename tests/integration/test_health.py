"""Health rules in real jobs: faults that show over epochs, and what `stop` leaves behind."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import pytest
from support.hosts import train_on_one
from support.jobs import read_metrics, run_train, write_hyperparameters

from byoc_vision.data.sample_data import SHAPES, make_classification_set
from byoc_vision.inference.predictor import Predictor
from byoc_vision.paths import MlPaths

SMALL = {
    "model": "resnet10t",
    "image_size": "32",
    "batch_size": "8",
    "num_workers": "0",
    "openvino": "false",
    "precision": "float32",
    "augmentation": "none",
    "cache": "off",
}
# Nothing is learnt: each step is lost in rounding.
STILL = {"learning_rate": "1e-12", "lr_scheduler": "constant", "optimizer": "sgd", "momentum": "0"}


def train(paths: MlPaths, **hyperparameters: str) -> int:
    write_hyperparameters(paths, SMALL | hyperparameters)
    return run_train(paths)


def found(paths: MlPaths) -> dict[str, dict[str, Any]]:
    return {finding["rule"]: finding for finding in read_metrics(paths)["findings"]}


@pytest.fixture
def paths(tmp_path: Path) -> MlPaths:
    """A job with shapes of four classes."""
    paths = MlPaths(tmp_path)
    make_classification_set(paths.channels, count_train=16, count_validation=8, size=32)
    return paths


def test_a_training_that_learns_nothing(paths: MlPaths, capsys: pytest.CaptureFixture[str]) -> None:
    """And whose thresholds are such that all that is slow is too slow."""
    tight = (
        "Plateau.epochs=2, Plateau.share=10, CPUBottleneck.share=0, CPUBottleneck.seconds=0, IOBottleneck.share=0, "
        "IOBottleneck.seconds=0, MaxInitializationTime.minutes=0, StepOutlier.times=0.9, StepOutlier.share=0, "
        "StepOutlier.steps=1, StalledTraining.seconds=0.002"
    )
    assert train(paths, epochs="4", batch_size="4", **STILL, health_thresholds=tight) == 0
    findings = found(paths)
    assert findings.keys() >= {"LossNotDecreasing", "Plateau", "UnchangedTensor", "MaxInitializationTime"}
    assert findings.keys() >= {"StalledTraining", "StepOutlier"}
    assert findings.keys() & {"CPUBottleneck", "IOBottleneck"}
    assert findings["LossNotDecreasing"]["epoch"] == 3
    assert findings["MaxInitializationTime"]["step"] == 1
    assert "byoc_vision" not in findings["StalledTraining"]["evidence"]  # paths are named from the package on
    log = capsys.readouterr().out
    findings.pop("RandomWeights", None)  # is said before the first epoch, in words of its own
    for finding in findings.values():
        assert f"{finding['rule']} (epoch {finding['epoch']}" in log
        assert finding["evidence"] in log


def test_a_training_on_dark_and_unbalanced_images_that_learns_what_validation_contradicts(paths: MlPaths) -> None:
    for file in paths.channels.rglob("*.*"):
        cv2.imwrite(str(file), cv2.imread(str(file)) // 20)
    validation = paths.channels / "validation"
    for name in SHAPES:
        (validation / name).rename(validation / f"_{name}")
    for name, other in zip(SHAPES, SHAPES[1:] + SHAPES[:1], strict=True):
        (validation / f"_{name}").rename(validation / other)
    circle = next((paths.channels / "train/circle").iterdir())
    for copy in range(30):
        circle.with_stem(f"copy{copy}").write_bytes(circle.read_bytes())
    thresholds = "Overfit.epochs=1, Overtraining.epochs=2, ClassImbalance.ratio=5"
    assert train(paths, epochs="6", learning_rate="0.003", health_thresholds=thresholds) == 0
    assert found(paths).keys() >= {"ClassImbalance", "CheckInputImages", "Overfit", "Overtraining"}


def test_a_rule_that_stops_after_an_epoch_leaves_the_best_model_and_a_job_that_is_over(
    paths: MlPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    stopping = {"epochs": "5", **STILL, "health_action": "none, LossNotDecreasing=stop"}
    assert train(paths, **stopping) == 0
    assert len(read_metrics(paths)["epochs"]) == 3
    assert found(paths)["LossNotDecreasing"]["action"] == "stop"
    Predictor.load(paths.model)
    capsys.readouterr()
    assert train(paths, **stopping) == 0  # started again: over
    assert len(read_metrics(paths)["epochs"]) == 3
    capsys.readouterr()
    assert train(paths, **stopping | {"health_action": "warn"}) == 0  # goes on, and repeats nothing
    assert len(read_metrics(paths)["epochs"]) == 5
    assert "LossNotDecreasing (" not in capsys.readouterr().out
    assert found(paths)["LossNotDecreasing"]["action"] == "warn"


def test_a_training_that_diverges_says_where(paths: MlPaths, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(paths, epochs="2", learning_rate="1e8", optimizer="sgd") == 2
    failure = paths.failure.read_text()
    assert re.search(r"the training diverged at a learning rate of \S+ \(the loss is not finite; it arose in", failure)
    assert "clip_grad_norm=1" in failure
    assert "ExplodingTensor (epoch" in capsys.readouterr().out


def test_all_processes_stop_in_the_same_step(paths: MlPaths) -> None:
    asked = {"epochs": "2", "batch_size": "2", "health_action": "none, MaxInitializationTime=stop"}
    write_hyperparameters(paths, SMALL | asked | {"health_thresholds": "MaxInitializationTime.minutes=0"})
    log = train_on_one(paths, 2)
    assert log.count("A health rule ends the training in epoch 1") == 1
    assert log.count("MaxInitializationTime (epoch 1, step 1)") == 1
    assert "No epoch is complete" in log
    Predictor.load(paths.model)
