"""When checkpoints are written."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from byoc_vision.errors import ResourceError
from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.paths import MlPaths
from byoc_vision.training.checkpoint import Checkpoints
from byoc_vision.training.checkpoint_file import CheckpointStore
from byoc_vision.training.distributed import World


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def checkpoints(tmp_path: Path, clock: Clock) -> Checkpoints:
    return Checkpoints(CheckpointStore(tmp_path), World(), minutes=2, epochs=3, clock=clock)


def test_by_time(checkpoints: Checkpoints, clock: Clock) -> None:
    assert not checkpoints.due_by_time()
    clock.now = 121
    assert checkpoints.due_by_time()
    checkpoints.save({"step": 1})
    checkpoints.wait()
    assert not checkpoints.due_by_time()
    clock.now = 241
    assert checkpoints.due_by_time()


def test_by_epoch(checkpoints: Checkpoints) -> None:
    assert [epoch for epoch in range(1, 8) if checkpoints.due_by_epoch(epoch)] == [3, 6]


def test_not_by_time(tmp_path: Path, clock: Clock) -> None:
    checkpoints = Checkpoints(CheckpointStore(tmp_path), World(), minutes=0, epochs=1, clock=clock)
    clock.now = 1e9
    assert not checkpoints.due_by_time()


def test_what_is_written_is_the_moment_it_was_asked_for(checkpoints: Checkpoints) -> None:
    weight = torch.ones(3)
    checkpoints.save({"w": weight})
    weight.zero_()
    checkpoints.wait()
    content = checkpoints.newest()
    assert content is not None
    assert content["w"].tolist() == [1.0, 1.0, 1.0]
    assert content["best"] is None


def test_what_is_held_is_written_once_it_is_confirmed(checkpoints: Checkpoints) -> None:
    weight = torch.ones(2)
    checkpoints.hold({"w": weight})
    weight.zero_()
    assert checkpoints.holds
    assert checkpoints.newest() is None
    checkpoints.confirm()
    assert not checkpoints.holds
    checkpoints.wait()
    content = checkpoints.newest()
    assert content is not None
    assert content["w"].tolist() == [1.0, 1.0]


def test_a_later_one_takes_the_place_of_one_that_is_held(checkpoints: Checkpoints) -> None:
    checkpoints.hold({"step": 1})
    checkpoints.save({"step": 2})
    checkpoints.confirm()
    checkpoints.wait()
    assert checkpoints.store.numbers() == [1]
    content = checkpoints.newest()
    assert content is not None
    assert content["step"] == 2


def test_a_write_that_fails_is_raised_at_the_next_step(tmp_path: Path) -> None:
    checkpoints = Checkpoints(CheckpointStore(tmp_path / "gone"), World(), minutes=1, epochs=1)
    checkpoints.save({"step": 1})
    with pytest.raises(ResourceError, match="could not be written"):
        checkpoints.wait()


def test_none_are_written_where_none_are_kept(tmp_path: Path) -> None:
    assert Checkpoints.of(MlPaths(tmp_path), Hyperparameters(checkpoint_keep=0), World()) is None
    assert not (tmp_path / "checkpoints").exists()
    assert Checkpoints.of(MlPaths(tmp_path), Hyperparameters(), World()) is not None
    assert (tmp_path / "checkpoints").is_dir()
