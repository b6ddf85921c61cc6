"""What follows the training of a real, small network: step timer, system metrics, profiler, TensorBoard, MLflow."""

from __future__ import annotations

import gzip
import json
import logging
import math
from pathlib import Path

import pytest
from support.tracked import record_of
from support.trainers import end, small_trainer, train
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from byoc_vision.launch.distributed import World
from byoc_vision.training.callbacks.health import Health
from byoc_vision.training.callbacks.mlflow import Mlflow
from byoc_vision.training.callbacks.profiler import MOST_OPERATORS, PROFILE_FOLDER
from byoc_vision.training.callbacks.step_timer import StepTimer
from byoc_vision.training.callbacks.tensorboard import STEP_LOSS, TensorBoard
from byoc_vision.training.trainer import Trainer


def names(trace: Path) -> set[str]:
    return {event.get("name", "") for event in json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]}


def test_two_epochs_of_six_steps(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trainer = small_trainer(tmp_path, profile_steps="4:7")
    with caplog.at_level(logging.INFO):
        for epoch in (1, 2):
            train(trainer, epoch)
    times = end(trainer).times
    assert times is not None

    assert times.steps == 12
    parts = times.total.model_dump()
    assert all(parts[name] > 0 for name in ("data_wait", "to_device", "forward", "backward", "optimizer"))
    assert len(times.slowest) == 10
    assert {(slow.epoch, slow.step) for slow in times.slowest} <= {
        (epoch, step) for epoch in (1, 2) for step in range(1, 7)
    }
    assert times.memory_limit

    profile = times.profile
    assert profile is not None
    assert profile.steps == (4, 6), "validation, which follows an epoch, is not part of it"
    trace = tmp_path / "output/data" / profile.trace
    assert {"step 4", "step 5", "step 6", "aten::convolution"} <= names(trace)
    assert not {"step 3", "step 7"} & names(trace)
    assert str(trace) in caplog.text
    assert 0 < len(profile.operators) <= MOST_OPERATORS
    seconds = [operator.cpu_seconds for operator in profile.operators]
    assert seconds == sorted(seconds, reverse=True)
    assert all(operator.calls > 0 and operator.gpu_seconds == 0 for operator in profile.operators)
    assert any(operator.name.startswith("aten::") for operator in profile.operators)
    assert not any(operator.name.startswith("step ") for operator in profile.operators)


def test_a_step_of_several_batches(tmp_path: Path) -> None:
    trainer = small_trainer(tmp_path, accumulate_steps="4", profile_steps="1:1")
    train(trainer, 1)
    times = end(trainer).times
    assert times is not None
    assert times.steps == 2
    assert times.profile is not None
    assert times.profile.steps == (1, 1)


def test_a_trace_that_was_asked_for_too_late_or_too_early(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trainer = small_trainer(tmp_path / "late", profile_steps="100:110")
    train(trainer, 1, steps=2)
    end(trainer)
    assert "profile_steps=100:110: the training ended with step 2, so there is no trace" in caplog.text
    resumed = small_trainer(tmp_path / "early", profile_steps="1:2")
    train(resumed, 1, batch=3)
    times = end(resumed).times
    assert times is not None
    assert "profile_steps=1:2 lies before step 4" in caplog.text
    assert caplog.text.count("there is no trace") == 2
    assert times.profile is None
    assert times.steps == 3
    assert [slow.step for slow in sorted(times.slowest, key=lambda slow: slow.step)] == [4, 5, 6]


def test_a_trace_that_cannot_be_written_fails_no_job(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trainer = small_trainer(tmp_path, profile_steps="1:1")
    (tmp_path / "output/data").mkdir(parents=True, exist_ok=True)
    (tmp_path / "output/data" / PROFILE_FOLDER).write_text("in the way")
    train(trainer, 1, steps=2)
    assert "could not be written" in caplog.text
    times = end(trainer).times
    assert times is not None
    assert times.profile is None


def kinds(trainer: Trainer) -> set[type]:
    return {type(callback) for callback in trainer.callbacks}


def test_the_steps_of_a_resumed_job_are_shown(tmp_path: Path) -> None:
    """40 steps an epoch: the job continues with step 31, and the second epoch ends with step 80."""
    trainer = small_trainer(tmp_path, count=80, batch_size="2", tensorboard_histograms="true")
    trainer.callbacks.train_begin(record_of(0))
    train(trainer, 1, batch=30)
    trainer.callbacks.epoch_end(record_of(1))
    train(trainer, 2)
    trainer.callbacks.epoch_end(record_of(2))
    trainer.callbacks.train_end(record_of(2))
    trainer.close()
    events = EventAccumulator(str(tmp_path / "output/tensorboard")).Reload()
    assert [point.step for point in events.Scalars("train/loss")] == [40, 80]
    (shown,) = events.Scalars(STEP_LOSS)
    assert shown.step == 50
    assert math.isfinite(shown.value)
    assert set(events.Tags()["histograms"]) == {f"weights/{name}" for name, _ in trainer.net.named_parameters()}


def test_which_trackers_a_job_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    both = {TensorBoard, Mlflow}
    assert kinds(small_trainer(tmp_path / "both")) & both == both
    assert kinds(small_trainer(tmp_path / "one", tensorboard="false")) & both == {Mlflow}


def test_only_the_main_process_writes(tmp_path: Path) -> None:
    other = small_trainer(tmp_path, World(rank=1))
    assert kinds(other) == {StepTimer, Health}
    assert other.health.monitor.is_idle
