"""When INT8 is kept, and what a job does if it is not."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import openvino
import pytest
import torch
from support import tiny_models
from support.fake_training import fake_trainer
from support.jobs import QUICK, read_metrics, run_train, write_hyperparameters
from torch import nn

from byoc_vision.artifact import OPENVINO_FOLDER
from byoc_vision.data.sample_data import make_classification_set
from byoc_vision.evaluation.metric_names import Objective
from byoc_vision.export.openvino import to_openvino
from byoc_vision.inference import openvino_model
from byoc_vision.inference.engines.openvino_engine import OpenVinoEngine
from byoc_vision.inference.predictor import Predictor
from byoc_vision.inference.reference import reference_images
from byoc_vision.launch.signals import StopRequestedError
from byoc_vision.paths import MlPaths
from byoc_vision.preprocess import Preprocess
from byoc_vision.training.batch_layout import Length
from byoc_vision.training.budget import Budget
from byoc_vision.training.budget_plan import Ending, Speed
from byoc_vision.training.deadline import Deadline, OutOfTimeError
from byoc_vision.training.quantization import LEAST_IMAGES, layers, quantize
from byoc_vision.training.served_precisions import (
    Quantizer,
    objection,
    operations_to_leave_out,
)

BEFORE = {"accuracy": 0.9, "f1": 0.85, "f1_hat": 0.8, "loss": 0.5}
JOB = QUICK | {
    "openvino": "true",
    "model": "test_resnet",
    "image_size": "32",
    "batch_size": "8",
    "epochs": "1",
    "num_workers": "0",
}


@pytest.mark.parametrize(
    ("objective", "after", "expected"),
    [
        (Objective("accuracy"), {}, ""),
        (Objective("accuracy"), {"accuracy": 0.8951}, ""),
        (Objective("accuracy"), {"accuracy": 0.95}, ""),
        (Objective("accuracy"), {"accuracy": 0.89}, "accuracy is 0.8900 instead of 0.9000, and int8_tolerance=0.005"),
        (Objective("accuracy"), {"accuracy": math.nan}, "accuracy is nan instead of 0.9000"),
        (Objective("accuracy"), {"f1": 0.5}, ""),
        (Objective("accuracy"), {"f1_hat": 0.781}, ""),
        (Objective("accuracy"), {"f1_hat": 0.77}, "f1_hat is 0.7700 instead of 0.8000, and no class may lose more"),
        (Objective("loss", "min"), {"loss": 0.4}, ""),
        (Objective("loss", "min"), {"loss": 0.51}, "loss is 0.5100 instead of 0.5000"),
    ],
)
def test_the_objective_and_each_class_must_stay(objective: Objective, after: dict[str, float], expected: str) -> None:
    found = objection(BEFORE, BEFORE | after, objective, 0.005)
    assert found.startswith(expected)
    assert bool(found) == bool(expected)


def test_a_class_that_is_never_predicted_any_more_is_a_loss() -> None:
    after = {name: value for name, value in BEFORE.items() if name != "f1_hat"}
    assert "f1_hat is nan" in objection(BEFORE, after, Objective("accuracy"), 0.005)


def test_a_budget_ends_what_it_leaves_no_time_for(tmp_path: Path) -> None:
    now = [0.0]

    def budget_of(length: Length) -> Budget:
        return Budget("10m", 600.0, length, Ending(), 100, Speed(1.0, 1.0), clock=lambda: now[0])

    trainer = fake_trainer(tmp_path, [1], budget=budget_of, int8="true")
    assert Deadline.of(trainer).seconds == 598, "int8=true ends with the budget, too, which leaves 2 s for the report"
    now[0] = 558
    deadline = Deadline.of(trainer)
    assert not deadline(39.0)
    with pytest.raises(OutOfTimeError, match="it takes more than 40 s that budget=10m leaves for it"):
        deadline(41.0)
    assert trainer.budget is not None
    trainer.budget.exported(60)  # ten times as long as on an idle machine
    assert Deadline.of(trainer).slowness == 10
    assert Deadline.of(trainer).seconds == 22
    assert Deadline.of(fake_trainer(tmp_path / "auto", [1])).seconds == 30


@pytest.fixture
def model() -> openvino.Model:
    config = tiny_models.classification_card(Preprocess(height=32, width=32))
    return to_openvino(tiny_models.network(config), config)


def test_int8_is_calibrated_on_as_many_images_as_a_budget_leaves_time_for(model: openvino.Model) -> None:
    """100 images took 10 s; an image takes three times as long, and the INT8 form is evaluated once more."""
    now = [0.0]

    def images_in(seconds: float, slowness: float | None = 1.0, most: int = 300) -> int:
        deadline = Deadline(seconds, lambda: False, lambda: now[0], slowness)
        return Quantizer(model, deadline).images_in_time(most, 10.0, 100)

    assert images_in(20 + 90 + 10) == 300
    assert images_in(20 + 30 + 10) == 100
    assert images_in(40 + 30 + 10, slowness=2) == 100
    assert images_in(1000, most=5) == 5
    assert images_in(0, slowness=None) == 300, "without a budget the images do not depend on the machine"
    with pytest.raises(OutOfTimeError):
        images_in(20 + 9 + 10)


def test_no_quantisation_begins_that_would_end_after_a_budget(model: openvino.Model) -> None:
    now = [0.0]
    deadline = Deadline(100.0, lambda: False, lambda: now[0], 1.0)
    quantizer, images = Quantizer(model, deadline), [np.zeros((32, 32, 3), np.uint8)] * 40
    assert quantizer.images_in_time(40, 10.0, 100) == 40
    now[0] = 69  # what it needs is 20 s, and 0.3 s for each image
    with pytest.raises(OutOfTimeError):
        quantizer(images, [])
    now[0] = 67
    quantizer(images, [])
    now[0] = 100
    quantizer(images[:32], [])  # the one before took no time by this clock, so none is expected


def test_a_deadline_ends_what_asks() -> None:
    now, asked = [0.0], [False]
    deadline = Deadline(10.0, lambda: asked[0], lambda: now[0])
    assert not deadline()
    now[0] = 11.0
    with pytest.raises(OutOfTimeError, match=r"more than 10 s .*int8=true has no limit"):
        deadline()
    assert not Deadline(None, lambda: asked[0], lambda: now[0])()
    asked[0] = True
    with pytest.raises(StopRequestedError):
        deadline()


def test_the_layer_that_hurts_is_left_out_first() -> None:
    """A channel that is thousands of times as large as the others takes the whole range of 8 bits."""
    config = tiny_models.segmentation_card(Preprocess(height=64, width=64))
    net = tiny_models.network(config)
    _, normalization, convolution, *_ = (m for m in net.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d))
    with torch.no_grad():  # what the network computes in float32 stays the same
        for weight in (normalization.weight, normalization.bias):
            weight[0] *= 4096
        convolution.weight[:, 0] /= 4096
    model, images = to_openvino(net, config), list(reference_images(config.preprocess))
    expected = OpenVinoEngine(model, precision="float32").run(np.stack(images))
    quantizer = Quantizer(model, Deadline(None, lambda: False))
    first, second, third = operations_to_leave_out(quantizer, images)
    assert first == []
    assert layers(model)[1] in second
    assert set(second) < set(third)

    def distance(left_out: list[str]) -> float:
        logits = OpenVinoEngine(quantize(model, images, left_out), precision="int8").run(np.stack(images))
        return float(np.mean((logits - expected) ** 2))

    assert distance(second) < 0.1 * distance(first)


@pytest.fixture
def paths(tmp_path: Path) -> MlPaths:
    paths = MlPaths(tmp_path)
    make_classification_set(paths.channels, count_train=16, count_validation=8, size=32)
    return paths


def run(paths: MlPaths, **asked: str) -> str:
    """A job; what it says of INT8. Its record and its artifact say the same."""
    write_hyperparameters(paths, JOB | asked)
    assert run_train(paths) == 0
    form = paths.model / OPENVINO_FOLDER
    said = json.loads((form / openvino_model.PRECISIONS_FILE).read_text())
    assert read_metrics(paths)["served"] == said
    assert (form / openvino_model.INT8_MODEL_FILE).exists() == (said["int8"] == "certified")
    assert "float32" in [entry["precision"] for entry in said["precisions"]]
    assert Predictor.load(paths.model, "cpu").engine.name.startswith("OpenVINO")
    return str(said["int8"])


def test_few_validation_images_tell_too_little(paths: MlPaths) -> None:
    assert run(paths).startswith(
        f"8 validation images are too few to tell a loss: int8=auto takes {LEAST_IMAGES['classification']}"
    )


def test_a_job_may_do_without(paths: MlPaths) -> None:
    assert run(paths, int8="false") == "int8=false"


def test_what_loses_too_much_is_left_away(
    paths: MlPaths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No class may lose anything, not even a negative amount: nothing is good enough."""
    monkeypatch.setattr("byoc_vision.training.served_precisions.CLASS_TOLERANCE", -1.0)
    assert "and no class may lose more than -1.0" in run(paths, int8="true")
    log = capsys.readouterr().out
    assert "INT8 without" in log, "layers were left out first"
    assert "The model has no INT8 form: " in log


def test_a_training_image_that_cannot_be_read_is_left_out(
    paths: MlPaths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("byoc_vision.training.served_precisions.CLASS_TOLERANCE", 1.0)
    image = sorted(paths.channel("train").rglob("*.*"))[0]
    image.write_bytes(image.read_bytes()[:100])
    said = run(paths, int8="true", int8_tolerance="0.99", on_bad_sample="skip")
    assert said == "certified"
    assert image.name in capsys.readouterr().out


def test_a_time_that_is_over_costs_the_measurement_and_not_the_job(
    paths: MlPaths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("byoc_vision.training.deadline.LEAST_SECONDS", 0.0)
    monkeypatch.setattr("byoc_vision.training.deadline.JOB_SHARE", 0.0)
    write_hyperparameters(paths, JOB)
    assert run_train(paths) == 0
    assert "is not measured, and the model has no INT8 form: it takes more than 0 s" in capsys.readouterr().out
    assert not (paths.model / OPENVINO_FOLDER / openvino_model.PRECISIONS_FILE).exists()
    assert Predictor.load(paths.model, "cpu").engine.name.startswith("OpenVINO")


def test_int8_is_made_of_the_openvino_model(paths: MlPaths) -> None:
    write_hyperparameters(paths, JOB | {"int8": "true", "openvino": "false"})
    assert run_train(paths) == 2
    assert "set openvino=true, or int8=auto" in paths.failure.read_text()
