"""A training of so many steps instead of epochs: the last pass over the images may be cut short."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.fake_training import At, FakeLoader, fake_trainer
from support.trainers import small_trainer

from byoc_vision.errors import InputError
from byoc_vision.hyperparameters import parse
from byoc_vision.launch.signals import StopSignals
from byoc_vision.recipe.auto_recipe import Facts, choose
from byoc_vision.training.batch_layout import Length
from byoc_vision.training.trainer import Trainer


def loaded(trainer: Trainer) -> list[tuple[int, int]]:
    assert isinstance(trainer.loader, FakeLoader)
    return trainer.loader.loaded


def weights(trainer: Trainer) -> list[float]:
    return torch.cat([parameter.detach().flatten() for parameter in trainer.net.parameters()]).tolist()


def test_the_last_pass_is_cut_short_and_evaluated(tmp_path: Path) -> None:
    trainer = fake_trainer(tmp_path, [1, 2, 3], batches=4, steps="10")
    trainer.train()
    assert loaded(trainer)[-2:] == [(3, 1), (3, 2)]
    assert len(loaded(trainer)) == 10
    assert [record.validation["accuracy"] for record in trainer.history.records] == [0.25, 0.5, 0.75]
    assert trainer.complete


def test_less_than_one_pass_is_evaluated_once(tmp_path: Path) -> None:
    trainer = fake_trainer(tmp_path, [1], batches=4, steps="3")
    trainer.train()
    assert loaded(trainer) == [(1, 1), (1, 2), (1, 3)]
    assert len(trainer.history.records) == 1


def test_a_step_is_of_several_batches(tmp_path: Path) -> None:
    trainer = fake_trainer(tmp_path, [1, 2], batches=4, accumulate_steps="2", steps="3")
    trainer.train()
    assert loaded(trainer) == [(1, 1), (1, 2), (1, 3), (1, 4), (2, 1), (2, 2)]


@pytest.mark.parametrize("at", [(2, 1), (3, 1), (3, 2)], ids=["a whole pass", "the cut pass", "its last step"])
def test_a_job_that_was_stopped_continues_with_the_same_bits(tmp_path: Path, at: tuple[int, int]) -> None:
    whole = fake_trainer(tmp_path / "whole", [1, 2, 3], batches=4, steps="10")
    whole.train()
    signals = StopSignals()
    stop = At(*at, lambda: setattr(signals, "requested", True))
    fake_trainer(tmp_path / "stopped", [1, 2, 3], stop, batches=4, steps="10", signals=signals).train()
    resumed = fake_trainer(tmp_path / "stopped", [1, 2, 3][at[0] - 1 :], batches=4, steps="10")
    resumed.train()
    assert weights(resumed) == weights(whole)
    assert len(resumed.history.records) == 3
    assert loaded(resumed)[-1:] == ([(3, 2)] if at != (3, 2) else [])


def test_a_job_with_more_steps_goes_on_after_the_cut_pass_with_a_pass_of_its_own(tmp_path: Path) -> None:
    fake_trainer(tmp_path, [1, 2], batches=4, steps="6").train()
    longer = fake_trainer(tmp_path, [3, 3], batches=4, steps="11")
    longer.train()
    assert loaded(longer) == [(3, 1), (3, 2), (3, 3), (3, 4), (4, 1)]
    assert longer.length.epochs == 4


def test_a_job_that_has_made_its_steps_does_not_train(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fake_trainer(tmp_path, [1, 2], batches=4, steps="6").train()
    again = fake_trainer(tmp_path, [2], batches=4, steps="6")
    again.train()
    assert loaded(again) == []
    assert "Set a higher `steps` to go on" in caplog.text


def test_the_schedule_ends_with_the_last_step(tmp_path: Path) -> None:
    """Six steps an epoch: 9 steps are a pass and a half."""
    trainer = small_trainer(tmp_path, steps="9")
    assert (trainer.hyperparameters.epochs, trainer.length.steps) == (2, 9)
    trainer.train()
    assert trainer.learning_rate == 0
    assert [record.epoch for record in trainer.history.records] == [1, 2]
    assert trainer.run.metadata.planned_epochs == 2


def test_the_encoder_has_steps_to_learn_in(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="freeze_epochs=2 are 12 steps, and the training ends after 9"):
        small_trainer(tmp_path, steps="9", freeze_epochs="2")


def test_steps_and_epochs_exclude_each_other() -> None:
    with pytest.raises(InputError, match="max_steps: stands for the length of the training, as num_epochs; give one"):
        parse({"max_steps": "100", "num_epochs": "3"})


def test_the_recipe_leaves_steps_as_they_are_and_warms_up_in_a_tenth_of_them() -> None:
    few = Facts("classification", images=160, pretrained=True, linear_head=True, encoder=True)
    settings, _ = choose(parse({"steps": "50"}), few, frozenset({"steps"}))
    assert (settings.steps, settings.epochs, settings.warmup_epochs) == (50, 10, 0.5)
    assert choose(parse({"steps": "5000"}), few, frozenset({"steps"}))[0].warmup_epochs == 1


def test_length() -> None:
    length = Length(steps=10, steps_per_epoch=4)
    assert length.epochs == 3
    assert [length.steps_in(epoch) for epoch in (1, 2, 3, 4)] == [4, 4, 2, 0]
    length.go_on(4, before=10)
    length.steps = 15
    assert length.epochs == 5
    assert [length.steps_in(epoch) for epoch in (4, 5, 6)] == [4, 1, 0]
