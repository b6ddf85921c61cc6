"""The training loop, on batches and validation images that are made up."""

from __future__ import annotations

import math
import traceback
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.fake_training import At, FakeLoader, FakeNet, fake_trainer
from torch import Tensor

from byoc_vision import artifact
from byoc_vision.data.fingerprint import DataFingerprint
from byoc_vision.errors import InputError
from byoc_vision.evaluation.predictions import SplitPredictions
from byoc_vision.health.facts import Silence
from byoc_vision.launch.signals import StopRequestedError, StopSignals
from byoc_vision.report.record import Record
from byoc_vision.training.callback import Callback
from byoc_vision.training.initial_weights import FirstWeights
from byoc_vision.training.trainer import Trainer


class Events(Callback):
    """What happened, in order."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.end: Record | None = None

    def train_begin(self, record: Record) -> None:
        self.seen.append(f"train_begin {len(record.epochs)}")

    def epoch_begin(self, epoch: int, step: int) -> None:
        self.seen.append(f"epoch_begin {epoch} {step}")

    def step_begin(self) -> None:
        self.seen.append("step_begin")

    def batch_moved(self, images: Tensor, targets: Tensor) -> None:
        self.seen.append("batch_moved")

    def loss_computed(self, logits: Tensor, loss: Tensor) -> None:
        self.seen.append("loss_computed")

    def gradients_computed(self) -> None:
        self.seen.append("gradients_computed")

    def gradients_ready(self) -> None:
        self.seen.append("gradients_ready")

    def step_end(self) -> None:
        self.seen.append("step_end")

    def epoch_trained(self) -> None:
        self.seen.append("epoch_trained")

    def batch_validated(self) -> None:
        self.seen.append("batch_validated")

    def predictions_kept(self, collected: SplitPredictions) -> None:
        self.seen.append(f"predictions_kept {collected.evaluation.epoch}")

    def epoch_end(self, record: Record) -> None:
        self.seen.append(f"epoch_end {len(record.epochs)} {record.state}")

    def train_end(self, record: Record) -> None:
        self.seen.append(f"train_end {record.state}")
        self.end = record


BATCH = ["batch_moved", "loss_computed", "gradients_computed"]


def step(batches: int = 1) -> list[str]:
    return ["step_begin", *BATCH * batches, "gradients_ready", "step_end"]


def end_of(events: Events) -> Record:
    assert events.end is not None
    return events.end


def weights(trainer: Trainer) -> list[float]:
    return torch.cat([parameter.detach().flatten() for parameter in trainer.net.parameters()]).tolist()


def loaded(trainer: Trainer) -> list[tuple[int, int]]:
    assert isinstance(trainer.loader, FakeLoader)
    return trainer.loader.loaded


def test_callbacks_are_called_in_their_order(tmp_path: Path) -> None:
    """Two epochs of two steps; the second epoch is the better one."""
    events = Events()
    fake_trainer(tmp_path, [1, 3], events).train()
    assert events.seen == [
        "train_begin 0",
        *("epoch_begin 1 0", *step(), *step(), "epoch_trained"),
        *("batch_validated", "batch_validated", "predictions_kept 1", "epoch_end 1 running"),
        *("epoch_begin 2 0", *step(), *step(), "epoch_trained"),
        *("batch_validated", "batch_validated", "predictions_kept 2", "epoch_end 2 running"),
        "train_end finished",
    ]


def test_a_step_takes_several_batches_and_the_last_one_those_that_are_left(tmp_path: Path) -> None:
    events = Events()
    fake_trainer(tmp_path, [1], events, batches=3, accumulate_steps="2").train()
    begin, end = events.seen.index("epoch_begin 1 0"), events.seen.index("epoch_trained")
    assert events.seen[begin + 1 : end] == [*step(2), *step(1)]


def test_the_optimiser_is_two_calls_away_from_train(tmp_path: Path) -> None:
    trainer, calls = fake_trainer(tmp_path, [1]), set()

    def note_calls(*_: object) -> None:
        frames = traceback.extract_stack()
        calls.add(tuple(frame.name for frame in frames if "/byoc_vision/" in frame.filename))

    trainer.step.optimizer.register_step_pre_hook(note_calls)
    trainer.train()
    assert calls == {("train", "__call__")}


def test_the_best_epoch_is_the_model(tmp_path: Path) -> None:
    events = Events()
    trainer = fake_trainer(tmp_path, [1, 3, 2], events)
    trainer.train()
    config, saved = artifact.load(tmp_path / "model")
    assert config.metrics["validation:accuracy"] == 0.75
    assert (end_of(events).best_epoch, end_of(events).validation["accuracy"]) == (2, 0.75)
    assert not torch.equal(saved["2.weight"], trainer.net.state_dict()["2.weight"]), "the last epoch's are others"
    assert [epoch.validation["accuracy"] for epoch in end_of(events).epochs] == [0.25, 0.75, 0.5]


def test_a_job_that_was_stopped_within_an_epoch_continues_with_the_same_bits(tmp_path: Path) -> None:
    whole = fake_trainer(tmp_path / "whole", [1, 2, 3], batches=3)
    whole.train()

    signals, events = StopSignals(), Events()
    stop = At(2, 1, lambda: setattr(signals, "requested", True))
    stopped = fake_trainer(tmp_path / "stopped", [1, 2, 3], stop, events, batches=3, signals=signals)
    stopped.train()
    assert loaded(stopped) == [(1, 1), (1, 2), (1, 3), (2, 1)]
    assert (end_of(events).state, end_of(events).reason) == ("interrupted", "asked to stop in epoch 2")
    assert artifact.load(tmp_path / "stopped/model")[0].metrics["validation:accuracy"] == 0.25

    events = Events()
    resumed = fake_trainer(tmp_path / "stopped", [2, 3], events, batches=3, epochs="3")
    resumed.train()
    assert events.seen[:2] == ["train_begin 1", "epoch_begin 2 1"]
    assert loaded(resumed) == [(2, 2), (2, 3), (3, 1), (3, 2), (3, 3)]
    assert weights(resumed) == weights(whole)
    same = [[(epoch.train_loss, epoch.validation) for epoch in trainer.history.records] for trainer in (resumed, whole)]
    assert same[0] == same[1]


def test_a_job_that_is_stopped_before_an_epoch_is_complete_leaves_a_model(tmp_path: Path) -> None:
    signals = StopSignals()
    stop = At(1, 1, lambda: setattr(signals, "requested", True))
    fake_trainer(tmp_path, [1], stop, signals=signals).train()
    assert artifact.load(tmp_path / "model")[0].metrics == {}


def test_a_job_that_is_stopped_in_validation_validates_again(tmp_path: Path) -> None:
    signals = StopSignals()

    class InValidation(Callback):
        def batch_validated(self) -> None:
            signals.requested = True

    fake_trainer(tmp_path, [1, 2], InValidation(), signals=signals).train()
    resumed = fake_trainer(tmp_path, [1, 2])
    resumed.train()
    assert loaded(resumed) == [(2, 1), (2, 2)]
    assert len(resumed.history.records) == 2


def test_a_complete_job_is_not_trained_again(tmp_path: Path) -> None:
    fake_trainer(tmp_path, [1, 2]).train()
    events = Events()
    again = fake_trainer(tmp_path, [2], events, epochs="2")
    again.train()
    assert loaded(again) == []
    assert events.seen[0] == "train_begin 2"
    assert end_of(events).state == "finished"
    assert end_of(events).evaluations[0].epoch == 2, "the best model's predictions are made again"


def with_data(trainer: Trainer, *, train: int, validation: int) -> Trainer:
    """As if the job had so many images."""
    rows = [np.array([[10 * split + n, 1] for n in range(count)]) for split, count in enumerate((train, validation))]
    trainer.partition = replace(trainer.partition, fingerprint=DataFingerprint(*rows))
    return trainer


def test_added_validation_images_measure_the_best_epoch_again(tmp_path: Path) -> None:
    with_data(fake_trainer(tmp_path, [1, 4]), train=4, validation=2).train()
    resumed = with_data(fake_trainer(tmp_path, [2, 3], epochs="3"), train=5, validation=3)
    resumed.train()
    assert loaded(resumed) == [(3, 1), (3, 2)]
    assert [epoch.validation["accuracy"] for epoch in resumed.history.records] == [0.25, 0.5, 0.75]
    assert resumed.history.best == resumed.history.records[2], "0.75 of the same images is more than 0.5, not than 1"
    assert artifact.load(tmp_path / "model")[0].metrics["validation:accuracy"] == 0.75


def test_a_best_epoch_that_stays_the_best_is_kept_with_its_new_metrics(tmp_path: Path) -> None:
    with_data(fake_trainer(tmp_path, [1, 4]), train=4, validation=2).train()
    best = artifact.load(tmp_path / "model")[1]
    with_data(fake_trainer(tmp_path, [3, 2], epochs="3"), train=4, validation=3).train()
    again = with_data(fake_trainer(tmp_path, [3], epochs="3"), train=4, validation=3)
    again.train()
    config, kept = artifact.load(tmp_path / "model")
    assert config.metrics["validation:accuracy"] == 0.75
    assert torch.equal(kept["2.weight"], best["2.weight"])
    assert again.history.best is not None
    assert again.history.best.epoch == 2


def test_a_checkpoint_of_other_data_ends_the_job_before_it_trains(tmp_path: Path) -> None:
    with_data(fake_trainer(tmp_path, [1]), train=4, validation=2).train()
    other = with_data(fake_trainer(tmp_path, [1]), train=3, validation=2)
    with pytest.raises(InputError, match=r"other data: 1 of its 6 .* resume=weights"):
        other.train()
    assert loaded(other) == []


def test_the_weights_of_a_checkpoint_are_trained_from_epoch_1(tmp_path: Path) -> None:
    first = with_data(fake_trainer(tmp_path, [4]), train=4, validation=2)
    first.train()
    signals = StopSignals()
    stop = At(1, 1, lambda: setattr(signals, "requested", True))
    other = with_data(fake_trainer(tmp_path, [1], stop, resume="weights", signals=signals), train=3, validation=2)
    other.checkpointer.load(other)
    assert weights(other) == weights(first)
    assert (other.progress.epoch, other.history.records, other.history.best) == (1, [], None)
    other.train()
    again = with_data(fake_trainer(tmp_path, [1], resume="weights"), train=3, validation=2)
    again.train()
    assert loaded(again) == [(1, 2)], "its own checkpoint is continued"
    assert artifact.load(tmp_path / "model")[0].metrics["validation:accuracy"] == 0.25, "not the other job's model"


def test_an_end_without_training_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fake_trainer(tmp_path, [1, 2]).train()
    again = fake_trainer(tmp_path, [2], epochs="2")
    again.first_weights = FirstWeights(text="random weights")
    caplog.set_level("INFO")
    again.train()
    warned = [entry.getMessage() for entry in caplog.records if entry.levelname == "WARNING"]
    assert [line for line in warned if line.startswith("All 2 epochs are done; nothing was trained")]
    assert "random weights" not in caplog.text


def test_in_another_batch_layout_the_epoch_restarts(tmp_path: Path) -> None:
    signals = StopSignals()
    stop = At(2, 1, lambda: setattr(signals, "requested", True))
    fake_trainer(tmp_path, [1, 2], stop, signals=signals, batches=3).train()
    resumed = fake_trainer(tmp_path, [2], batches=4, epochs="2")
    resumed.train()
    assert loaded(resumed) == [(2, 1), (2, 2), (2, 3), (2, 4)]


def test_early_stopping(tmp_path: Path) -> None:
    stopping = {"early_stopping": "true", "early_stopping_patience": "2", "early_stopping_min_epochs": "1"}
    events = Events()
    trainer = fake_trainer(tmp_path, [3, 2, 2, 4], events, **stopping)
    trainer.train()
    assert [record.epoch for record in trainer.history.records] == [1, 2, 3]
    assert (end_of(events).state, end_of(events).best_epoch) == ("stopped_early", 1)


def test_a_health_rule_that_stops_after_an_epoch(tmp_path: Path) -> None:
    rule = {"health_action": "LossNotDecreasing=stop", "health_thresholds": "LossNotDecreasing.epochs=2"}
    events = Events()
    trainer = fake_trainer(tmp_path, [1, 2, 3], events, learning_rate="1e-9", **rule)
    trainer.train()
    assert [record.epoch for record in trainer.history.records] == [1, 2]
    assert end_of(events).state == "stopped_by_rule"
    assert (end_of(events).reason or "").startswith("LossNotDecreasing: ")
    assert [finding.rule for finding in end_of(events).findings] == ["LossNotDecreasing"]


def test_a_health_rule_that_stops_within_the_first_epoch(tmp_path: Path) -> None:
    """A step takes too long, say."""
    events = Events()

    def stall() -> None:
        trainer.health.monitor.judge(Silence(2.0, "loaders.py"), epoch=1)

    rule = {"health_action": "StalledTraining=stop", "health_thresholds": "StalledTraining.seconds=1"}
    trainer = fake_trainer(tmp_path, [1, 2], events, At(1, 1, stall), batches=3, **rule)
    trainer.train()
    assert loaded(trainer) == [(1, 1)]
    assert (end_of(events).state, end_of(events).epochs) == ("stopped_by_rule", [])
    assert artifact.load(tmp_path / "model")[0].metrics == {}


def test_a_loss_that_is_not_a_number_names_the_remedy_and_leaves_the_best_model(tmp_path: Path) -> None:
    net, events = FakeNet(), Events()
    spoil = At(2, 1, lambda: net[2].bias.data.fill_(math.nan))
    trainer = fake_trainer(tmp_path, [1, 2], events, spoil, net=net)
    with pytest.raises(InputError, match=r"nan in epoch 2: .*learning rate of 0\.001.*Lower it .*clip_grad_norm"):
        trainer.train()
    assert artifact.load(tmp_path / "model")[0].metrics["validation:accuracy"] == 0.25
    assert end_of(events).state == "failed"
    assert "the training loss is nan in epoch 2" in (end_of(events).reason or "")
    trainer.checkpointer.wait()
    resumed = fake_trainer(tmp_path, [1, 2])
    resumed.checkpointer.load(resumed)
    assert torch.isfinite(torch.tensor(weights(resumed))).all(), "the checkpoint is of before"
    assert resumed.progress.epoch == 2


def test_the_end_is_reported_once(tmp_path: Path) -> None:
    """What fails after the end is no longer in the record."""

    class Fails(Callback):
        def train_end(self, record: Record) -> None:
            raise OSError("the disk is gone")

    events = Events()
    with pytest.raises(OSError, match="the disk is gone"):
        fake_trainer(tmp_path, [1], events, Fails()).train()
    assert [event for event in events.seen if event.startswith("train_end")] == ["train_end finished"]


def test_a_job_that_is_stopped_before_it_trains_says_so(tmp_path: Path) -> None:
    class StopsAtOnce(Callback):
        def train_begin(self, record: Record) -> None:
            raise StopRequestedError

    events = Events()
    with pytest.raises(StopRequestedError):
        fake_trainer(tmp_path, [1], events, StopsAtOnce()).train()
    assert events.seen == ["train_begin 0", "train_end interrupted"]


def test_a_checkpoint_of_another_model_ends_the_job_before_it_trains(tmp_path: Path) -> None:
    fake_trainer(tmp_path, [1]).train()
    other, events = fake_trainer(tmp_path, [1]), Events()
    other.config = other.config.model_copy(update={"activation": "sigmoid"})
    other.callbacks = events  # type: ignore[assignment]
    with pytest.raises(InputError, match="activation: softmax in the checkpoint, sigmoid in this job"):
        other.train()
    assert events.seen == ["train_end failed"]
