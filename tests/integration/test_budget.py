"""Jobs within a time: what they leave, what they say, and what they say before they train."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from support.jobs import QUICK, read_metrics, run_train, write_hyperparameters
from support.trainers import small_trainer

from byoc_vision import artifact
from byoc_vision.data.sample_data import make_classification_set
from byoc_vision.errors import InputError
from byoc_vision.launch.job_time import MAX_RUNTIME
from byoc_vision.paths import MlPaths
from byoc_vision.training.build import seed_everything
from byoc_vision.training.trainer import Trainer

SMALL = {**QUICK, "model": "test_resnet", "image_size": "32", "batch_size": "8", "num_workers": "0"}


def lay_out(root: Path, **hyperparameters: str) -> MlPaths:
    paths = MlPaths(root)
    make_classification_set(paths.channels, count_train=40, count_validation=8, size=32)
    write_hyperparameters(paths, SMALL | hyperparameters)
    return paths


def train(paths: MlPaths) -> dict[str, Any]:
    assert run_train(paths) == 0
    assert (paths.model / "model.safetensors").is_file()
    return read_metrics(paths)


def weights(trainer: Trainer) -> list[float]:
    return torch.cat([parameter.detach().flatten() for parameter in trainer.net.parameters()]).tolist()


def limited_trainer(root: Path, budget: str) -> Trainer:
    """Its clock begins here, not with the process of all tests."""
    begun = time.monotonic()
    clock = lambda: time.monotonic() - begun  # noqa: E731
    return small_trainer(root, clock=clock, budget=budget, precision="float32", openvino="false")


def test_a_job_in_the_time_that_its_error_recommends_trains_and_leaves_a_model(tmp_path: Path) -> None:
    """Steps and evaluations are real. What they take depends on what else the machine does, and so does the part of
    the schedule that fits; unit/training/test_budget.py has a clock of its own, with which it ends at its end.
    """
    with pytest.raises(InputError, match="too short for one pass") as refused:
        limited_trainer(tmp_path / "short", "1s")
    asked = re.search(r"Set budget=(\d+[sm]) or more", str(refused.value))
    assert asked
    trainer = limited_trainer(tmp_path, asked[1])
    trainer.train()
    record = trainer.run("finished")
    assert record.budget is not None
    assert 0 < record.budget.schedule <= 1
    assert (trainer.learning_rate == 0) == (record.budget.schedule == 1)
    assert len(record.epochs) == record.budget.actual.epochs > 0
    assert record.budget.planned.steps > trainer.length.steps_per_epoch
    assert record.budget.planned.step_seconds > 0
    assert artifact.read_config(tmp_path / "model").metrics["validation:accuracy"] == record.validation["accuracy"]


def test_log_record_and_report_have_the_plan_and_what_came_of_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    paths = lay_out(tmp_path, budget="2000h", epochs="2", report="true", openvino="true")
    record = train(paths)
    log = "".join(capfd.readouterr())
    found = record["budget"]
    assert (found["planned"]["epochs"], found["actual"]["epochs"], found["actual"]["steps"]) == (2, 2, 10)
    assert found["schedule"] == 1
    assert 0 < found["actual"]["training_ends"] < found["actual"]["job_ends"]
    assert record["served"]["precisions"], "the budget leaves time to measure them"
    assert "budget: 83 d 08 h; a step takes " in log
    assert "budget: the job took " in log
    page = (paths.output_data / "report.html").read_text(encoding="utf-8")
    assert "<h3>Budget" in page
    assert "schedule reaches its end" in page


def test_a_job_goes_on_within_its_budget_if_it_may_train_more_epochs(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    paths = lay_out(tmp_path, budget="2000h", epochs="1")
    first = train(paths)
    write_hyperparameters(paths, SMALL | {"budget": "2000h", "epochs": "3"})
    second = train(paths)
    assert [epoch["epoch"] for epoch in second["epochs"]] == [1, 2, 3]
    assert second["epochs"][0] == first["epochs"][0]
    assert (second["budget"]["actual"]["steps"], second["budget"]["schedule"]) == (15, 1)
    assert second["budget"]["planned"] == first["budget"]["planned"], "as it was before the first step"
    capfd.readouterr()
    third = train(paths)
    assert "All 3 epochs are done; nothing was trained" in "".join(capfd.readouterr())
    assert third["epochs"] == second["epochs"]


def test_a_budget_too_short_for_one_pass_is_an_error_before_training(tmp_path: Path) -> None:
    paths = lay_out(tmp_path, budget="1s")
    assert run_train(paths) == 2
    said = paths.failure.read_text(encoding="utf-8")
    assert "budget=1s is too short for one pass over the training images" in said
    assert "5 steps of" in said
    assert not paths.model.exists()


def test_auto_is_what_sagemaker_allows_less_a_reserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MAX_RUNTIME, "2000000")
    record = train(lay_out(tmp_path, budget="auto", epochs="1"))
    assert record["budget"]["seconds"] == 2_000_000 - 600
    assert record["budget"]["budget"] == "auto"


def test_auto_without_a_known_limit_is_not_a_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(MAX_RUNTIME, raising=False)
    record = train(lay_out(tmp_path, budget="auto", epochs="1"))
    assert record["budget"] is None
    assert "budget=auto: the job's MaxRuntimeInSeconds is not known here" in "".join(capfd.readouterr())


def test_what_is_measured_before_leaves_no_trace(tmp_path: Path) -> None:
    """The weights are those of the job without a budget, bit for bit."""
    settings = {"precision": "float32", "epochs": "2"}
    seed_everything(0)
    plain = small_trainer(tmp_path / "plain", **settings)
    plain.train()
    seed_everything(0)
    limited = small_trainer(tmp_path / "limited", clock=lambda: 0.0, budget="2000h", **settings)
    assert limited.budget is not None
    limited.train()
    assert weights(limited) == weights(plain)
