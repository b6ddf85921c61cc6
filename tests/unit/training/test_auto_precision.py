"""The precision of a training on a CPU: measured, and the same when the job is resumed."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from support import tiny_models
from support.jobs import QUICK, read_metrics, run_train, write_hyperparameters

from byoc_vision.data.sample_data import make_classification_set
from byoc_vision.hyperparameters import parse
from byoc_vision.launch.distributed import World
from byoc_vision.paths import MlPaths
from byoc_vision.precision import PrecisionName
from byoc_vision.preprocess import Preprocess
from byoc_vision.system.machine import has_bfloat16
from byoc_vision.training.auto_precision import LEAST_STEPS, SECONDS_EACH, choose_by_time, training_precision
from byoc_vision.training.checkpoint import random_state
from byoc_vision.training.checkpoint_file import CheckpointStore

CONFIG = tiny_models.classification_card(Preprocess(height=64, width=64))
CPU = torch.device("cpu")


class Clock:
    """Seconds that only the steps move. steps: how often each was done."""

    def __init__(self) -> None:
        self.now = 0.0
        self.steps: list[str] = []

    def __call__(self) -> float:
        return self.now

    def step(self, name: str, seconds: float) -> None:
        self.steps.append(name)
        self.now += seconds


def choose(clock: Clock, float32: float, bfloat16: float) -> PrecisionName:
    steps = {
        "float32": lambda: clock.step("float32", float32),
        "bfloat16": lambda: clock.step("bfloat16", bfloat16),
    }
    return choose_by_time(steps, clock)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("float32", "bfloat16", "chosen"),
    [(0.73, 1.10, "float32"), (1.0, 0.91, "float32"), (1.0, 0.9, "bfloat16"), (1.0, 0.5, "bfloat16")],
)
def test_bfloat16_must_be_a_tenth_faster(float32: float, bfloat16: float, chosen: str) -> None:
    assert choose(Clock(), float32, bfloat16) == chosen


def test_both_times_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        choose(Clock(), 0.1, 0.05)
    assert "precision=auto: a step takes float32 100 ms, bfloat16 50 ms; the job trains in bfloat16" in caplog.text


def test_slow_steps_are_few() -> None:
    clock = Clock()
    choose(clock, 2 * SECONDS_EACH, SECONDS_EACH)
    assert clock.steps == ["float32", "bfloat16"] * (1 + LEAST_STEPS)


def test_measuring_leaves_the_random_numbers_as_they_were() -> None:
    before = random_state()
    found = training_precision(parse({"batch_size": "2"}), CONFIG, None, CPU, World(), None)
    after = random_state()
    assert found.name in ("float32", "bfloat16")
    assert torch.equal(before["torch"], after["torch"])
    assert before["python"] == after["python"]
    assert torch.equal(before["numpy"][1], after["numpy"][1])


def test_a_named_precision_is_not_measured(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        found = training_precision(parse({"precision": "bfloat16"}), CONFIG, None, CPU, World(), None)
    assert found.name == "bfloat16"
    assert "a step takes" not in caplog.text


@pytest.mark.parametrize("first", ["float32", "bfloat16"])
def test_a_resumed_job_trains_in_the_precision_of_its_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], first: str
) -> None:
    paths = MlPaths(tmp_path)
    make_classification_set(paths.channels, count_train=16, count_validation=8, size=32)
    job = QUICK | {"model": "test_resnet", "image_size": "32", "batch_size": "8", "num_workers": "0"}
    write_hyperparameters(paths, job | {"precision": first, "epochs": "1"})
    assert run_train(paths) == 0
    content = CheckpointStore(paths.checkpoints, 2).newest()
    assert content is not None
    assert content["precision"] == first
    capsys.readouterr()
    write_hyperparameters(paths, job | {"precision": "auto", "epochs": "2"})
    assert run_train(paths) == 0
    assert read_metrics(paths)["run"]["precision"] == first
    assert "a step takes" not in capsys.readouterr().out


def test_a_first_start_is_measured_where_bfloat16_may_be_faster(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = MlPaths(tmp_path)
    make_classification_set(paths.channels, count_train=16, count_validation=8, size=32)
    write_hyperparameters(
        paths,
        QUICK | {"precision": "auto", "model": "test_resnet", "image_size": "32", "epochs": "1", "num_workers": "0"},
    )
    assert run_train(paths) == 0
    assert ("precision=auto: a step takes float32" in capsys.readouterr().out) == has_bfloat16()
    run = read_metrics(paths)["run"]
    assert f'"precision": "{run["precision"]}"' in run["command"], "what repeats the job does not measure again"
