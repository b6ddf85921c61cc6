"""When checkpoints are written."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from byoc_vision.errors import ResourceError
from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.launch.distributed import World
from byoc_vision.paths import MlPaths
from byoc_vision.training.batch_layout import Progress
from byoc_vision.training.checkpoint import Checkpointer
from byoc_vision.training.checkpoint_file import CheckpointStore


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Training:
    """One weight, and the losses of the epoch so far."""

    def __init__(self) -> None:
        self.progress = Progress()
        self.weight = torch.ones(2)

    def state_dict(self, processes: list[dict[str, Any]]) -> dict[str, Any]:
        return {"weight": self.weight, "processes": processes}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def training() -> Training:
    return Training()


@pytest.fixture
def checkpointer(tmp_path: Path, clock: Clock) -> Checkpointer:
    return Checkpointer(CheckpointStore(tmp_path), World(), minutes=2, epochs=3, clock=clock)


def saved_weight(checkpointer: Checkpointer) -> list[float] | None:
    checkpointer.wait()
    assert checkpointer.store is not None
    content = checkpointer.store.newest()
    return None if content is None else content["weight"].tolist()


def test_by_time(checkpointer: Checkpointer, clock: Clock, training: Training) -> None:
    assert not checkpointer.after_step(training)
    clock.now = 121
    assert checkpointer.after_step(training)
    checkpointer.save(training)
    checkpointer.wait()
    assert not checkpointer.after_step(training)
    clock.now = 241
    assert checkpointer.after_step(training)


def test_by_epoch(checkpointer: Checkpointer) -> None:
    assert [epoch for epoch in range(1, 8) if checkpointer.due_by_epoch(epoch)] == [3, 6]


def test_not_by_time(tmp_path: Path, clock: Clock, training: Training) -> None:
    checkpointer = Checkpointer(CheckpointStore(tmp_path), World(), minutes=0, epochs=1, clock=clock)
    clock.now = 1e9
    assert not checkpointer.after_step(training)


def test_a_checkpoint_is_a_copy_of_its_moment(checkpointer: Checkpointer, training: Training) -> None:
    checkpointer.save(training)
    training.weight.zero_()
    assert saved_weight(checkpointer) == [1.0, 1.0]


def test_unproven_weights_are_written_after_the_next_step(checkpointer: Checkpointer, training: Training) -> None:
    checkpointer.save(training, proven=False)
    training.weight.zero_()
    assert checkpointer.holds
    assert saved_weight(checkpointer) is None
    checkpointer.after_step(training)
    assert saved_weight(checkpointer) == [1.0, 1.0]


def test_weights_whose_next_loss_is_not_a_number_are_not_written(
    checkpointer: Checkpointer, training: Training
) -> None:
    checkpointer.save(training)
    checkpointer.save(training, proven=False)
    training.progress.sums += math.nan
    checkpointer.after_step(training)
    checkpointer.save(training)
    checkpointer.wait()
    assert checkpointer.store is not None
    assert checkpointer.store.numbers() == [1]


def test_a_later_one_replaces_one_that_is_held(checkpointer: Checkpointer, training: Training) -> None:
    checkpointer.save(training, proven=False)
    training.weight.zero_()
    checkpointer.save(training)
    checkpointer.after_step(training)
    assert saved_weight(checkpointer) == [0.0, 0.0]
    assert checkpointer.store is not None
    assert checkpointer.store.numbers() == [1]


def test_a_write_that_fails_is_raised(tmp_path: Path, training: Training) -> None:
    checkpointer = Checkpointer(CheckpointStore(tmp_path / "gone"), World(), minutes=1)
    checkpointer.save(training)
    with pytest.raises(ResourceError, match="could not be written"):
        checkpointer.wait()


def test_a_job_without_checkpoints_writes_none(tmp_path: Path, training: Training) -> None:
    checkpointer = Checkpointer.of(MlPaths(tmp_path), Hyperparameters(checkpoint_keep=0), World())
    checkpointer.save(training)
    assert not checkpointer.after_step(training)
    checkpointer.wait()
    assert checkpointer.peek() is None
    assert not (tmp_path / "checkpoints").exists()


def test_the_folder_is_made_at_the_start(tmp_path: Path) -> None:
    Checkpointer.of(MlPaths(tmp_path), Hyperparameters(), World())
    assert (tmp_path / "checkpoints").is_dir()
