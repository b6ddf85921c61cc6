"""The trackers of a real, small training."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import torch
from support.records import record_of
from support.trainers import small_trainer, train
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from byoc_vision.hyperparameters import parse
from byoc_vision.paths import MlPaths
from byoc_vision.training.distribution import World
from byoc_vision.training.progress import Progress
from byoc_vision.training.tracking.build import build_trackers
from byoc_vision.training.tracking.mlflow import MlflowTracker
from byoc_vision.training.tracking.tensorboard import STEP_LOSS, TensorBoardTracker
from byoc_vision.training.trainer import Trainer

SERVER = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}


def kinds(root: Path, trainer: Trainer, **hyperparameters: str) -> list[type]:
    trackers = build_trackers(MlPaths(root), parse(hyperparameters), trainer, Progress(), SERVER)
    return [type(tracker) for tracker in trackers.all]


def test_the_steps_of_a_resumed_job_are_told(tmp_path: Path) -> None:
    """40 steps an epoch: the job goes on with step 31, and the second epoch ends with step 80."""
    trainer, hyperparameters = small_trainer(tmp_path, count=80, batch_size="2", tensorboard_histograms="true")
    progress = Progress(epoch=1, batch=30, sums=torch.zeros(2, dtype=torch.float64))
    trackers = build_trackers(MlPaths(tmp_path), hyperparameters, trainer, progress, {})
    trackers.begin(record_of(0))
    train(trainer, 1, batch=30)
    trackers.epoch(record_of(1))
    train(trainer, 2)
    trackers.epoch(record_of(2))
    trackers.end(record_of(2), tmp_path / "output/data")
    trainer.close()
    events = EventAccumulator(str(tmp_path / "output/tensorboard")).Reload()
    assert [point.step for point in events.Scalars("train/loss")] == [40, 80]
    (told,) = events.Scalars(STEP_LOSS)
    assert told.step == 50
    assert math.isfinite(told.value)
    assert set(events.Tags()["histograms"]) == {f"weights/{name}" for name, _ in trainer.net.named_parameters()}


def test_who_is_told(tmp_path: Path) -> None:
    trainer, _ = small_trainer(tmp_path)
    assert kinds(tmp_path, trainer) == [TensorBoardTracker, MlflowTracker]
    assert kinds(tmp_path, trainer, tensorboard="false") == [MlflowTracker]
    other = replace(trainer, world=World(rank=1, local_rank=1, size=2))
    assert kinds(tmp_path, other) == []
