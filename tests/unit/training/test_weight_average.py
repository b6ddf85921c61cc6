"""Averages of the weights: over the steps, against the closed form; and of the best epochs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import pytest
import torch
from support.fake_training import fake_trainer
from torch import nn

from byoc_vision import artifact
from byoc_vision.evaluation.metric_names import Objective
from byoc_vision.report.views.verdict import verdict
from byoc_vision.training.weight_average import Soup, WeightAverage


def net_of(value: float) -> nn.Module:
    net = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    fill(net, value)
    return net


def fill(net: nn.Module, value: float) -> None:
    with torch.no_grad():
        for tensor in net.state_dict().values():
            tensor.fill_(value)


def test_the_average_is_exponential_after_a_warm_up() -> None:
    net = net_of(0.0)
    average, expected = WeightAverage(net, 0.9), 0.0
    for step in range(1, 201):
        value = math.sin(step)
        fill(net, value)
        average.update()
        decay = min(0.9, step / (step + 9))
        expected = decay * expected + (1 - decay) * value
    assert average.tensors["0.weight"].item() == pytest.approx(expected, abs=1e-6)
    assert average.tensors["1.running_var"].item() == pytest.approx(expected, abs=1e-6), "statistics, too"


def test_counters_are_copied() -> None:
    net = net_of(0.0)
    average = WeightAverage(net, 0.9)
    fill(net, 7.0)
    average.update()
    assert average.tensors["1.num_batches_tracked"].item() == 7


def test_the_network_has_the_average_only_within_the_context() -> None:
    net = net_of(1.0)
    average = WeightAverage(net, 0.5)
    fill(net, 3.0)
    average.update()
    averaged = average.tensors["0.weight"].item()
    with average.applied():
        assert net[0].weight.item() == averaged != 3.0  # type: ignore[index]
    assert net[0].weight.item() == 3.0  # type: ignore[index]


def test_a_resumed_average_goes_on_to_the_bit() -> None:
    net = net_of(0.0)
    whole = WeightAverage(net, 0.99)
    for value in (1.0, -2.0):
        fill(net, value)
        whole.update()
    resumed = WeightAverage(net, 0.99)
    resumed.load_state_dict(whole.state_dict())
    fill(net, 3.0)
    for average in (whole, resumed):
        average.update()
    assert resumed.steps == 3
    for name, tensor in whole.tensors.items():
        assert torch.equal(resumed.tensors[name], tensor), name


def test_without_a_state_it_begins_with_the_weights_as_they_are() -> None:
    net = net_of(1.0)
    average = WeightAverage(net, 0.5)
    average.update()
    fill(net, 4.0)
    average.load_state_dict(None)
    assert (average.steps, average.tensors["0.weight"].item()) == (0, 4.0)


def test_the_better_of_both_is_kept_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Of two evaluations an epoch the fake validation counts 1 right, then 3: those of the average."""
    trainer = fake_trainer(tmp_path, [1, 3], epochs="1", ema_decay="0.5")
    with caplog.at_level("INFO"):
        trainer.train()
    (record,) = trainer.history.records
    assert (record.averaged, record.validation["accuracy"]) == (True, 0.75)
    assert "(averaged weights)" in caplog.text
    assert trainer.average is not None
    _, saved = artifact.load(tmp_path / "model")
    for name, tensor in trainer.average.tensors.items():
        assert torch.equal(saved[name], tensor), name
    assert not torch.equal(saved["2.weight"], trainer.net.state_dict()["2.weight"])


def test_once_the_average_is_better_it_is_measured_alone(tmp_path: Path) -> None:
    """Four evaluations for three epochs: of both, of the average, of the average."""
    trainer = fake_trainer(tmp_path, [1, 2, 3, 1], epochs="3", ema_decay="0.5")
    trainer.train()
    assert [record.averaged for record in trainer.history.records] == [True, True, True]
    assert [record.validation["accuracy"] for record in trainer.history.records] == [0.5, 0.75, 0.25]


def test_the_last_weights_are_kept_if_they_are_better(tmp_path: Path) -> None:
    trainer = fake_trainer(tmp_path, [3, 1], epochs="1", ema_decay="0.5")
    trainer.train()
    (record,) = trainer.history.records
    assert (record.averaged, record.validation["accuracy"]) == (False, 0.75)
    _, saved = artifact.load(tmp_path / "model")
    assert torch.equal(saved["2.weight"], trainer.net.state_dict()["2.weight"])


class TestSoup:
    def soup_of(self, values: list[float], size: int = 2, mode: Literal["max", "min"] = "max") -> Soup:
        """An epoch of each value of the objective; its weights are 10 × its number."""
        soup = Soup(size, Objective("accuracy", mode))
        for epoch, value in enumerate(values, start=1):
            soup.add(epoch, value, net_of(10.0 * epoch).state_dict())
        return soup

    def test_the_best_epochs_are_kept_whatever_their_order(self) -> None:
        assert self.soup_of([0.1, 0.5, 0.3, 0.4]).epochs == [2, 4]
        assert self.soup_of([0.5, 0.4, 0.1]).epochs == [1, 2]
        assert self.soup_of([0.5, 0.4, 0.1], mode="min").epochs == [2, 3]
        assert self.soup_of([0.3, 0.3, 0.3]).epochs == [1, 2], "of equal ones the first"
        assert self.soup_of([math.nan, 0.3, math.nan]).epochs == [2]

    def test_weights_and_statistics_are_averaged_and_counters_are_the_best_epoch_s(self) -> None:
        tensors = self.soup_of([0.1, 0.5, 0.4]).average()
        assert tensors["0.weight"].item() == tensors["1.running_var"].item() == 25
        assert tensors["0.weight"].dtype == torch.float32
        assert tensors["1.num_batches_tracked"].item() == 20

    def test_it_keeps_copies(self) -> None:
        net, soup = net_of(1.0), Soup(2, Objective("accuracy"))
        soup.add(1, 0.5, net.state_dict())
        fill(net, 9.0)
        assert soup.average()["0.weight"].item() == 1

    def test_a_resumed_soup_is_the_same_and_a_smaller_one_keeps_the_best(self) -> None:
        whole = self.soup_of([0.1, 0.5, 0.4])
        resumed = Soup(2, Objective("accuracy"))
        resumed.load_state_dict(whole.state_dict())
        assert torch.equal(resumed.average()["0.weight"], whole.average()["0.weight"])
        smaller = Soup(1, Objective("accuracy"))
        smaller.load_state_dict(whole.state_dict())
        assert smaller.epochs == [2]
        smaller.load_state_dict(None)
        assert smaller.epochs == []

    def test_it_is_the_model_if_it_is_better(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """The fake validation counts 1 and 2 right for the epochs, then 3 for their average."""
        trainer = fake_trainer(tmp_path, [1, 2, 3], epochs="2", soup="2")
        with caplog.at_level("INFO"):
            trainer.train()
        assert "soup: accuracy 0.7500 of epochs 1, 2, 0.5000 before: it is the model" in caplog.text
        record = trainer.run()
        assert (record.soup, record.best_epoch, record.validation["accuracy"]) == ([1, 2], 2, 0.75)
        assert [epoch.validation["accuracy"] for epoch in record.epochs] == [0.25, 0.5]
        config, saved = artifact.load(tmp_path / "model")
        assert config.metrics["validation:accuracy"] == 0.75
        assert trainer.best.soup is not None
        for name, tensor in trainer.best.soup.average().items():
            assert torch.equal(saved[name], tensor), name
        assert not torch.equal(saved["2.weight"], trainer.net.state_dict()["2.weight"])
        assert "of the averaged weights of epochs 1, 2" in verdict(record).where

    def test_it_is_left_if_it_is_not_better(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        trainer = fake_trainer(tmp_path, [1, 2, 2], epochs="2", soup="2")
        with caplog.at_level("INFO"):
            trainer.train()
        assert "the best epoch stays the model" in caplog.text
        assert (trainer.run().soup, trainer.run().validation["accuracy"]) == ([], 0.5)

    def test_a_job_that_was_done_tastes_the_same_soup_again(self, tmp_path: Path) -> None:
        """As one that was stopped during its test."""
        fake_trainer(tmp_path, [1, 2, 3], epochs="2", soup="2").train()
        _, first = artifact.load(tmp_path / "model")
        again = fake_trainer(tmp_path, [3], epochs="2", soup="2")
        again.train()
        assert list(again.history.soup) == [1, 2]
        _, second = artifact.load(tmp_path / "model")
        assert all(torch.equal(first[name], second[name]) for name in first)
