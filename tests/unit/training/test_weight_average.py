"""The average of the weights, against its closed form."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from support.fake_training import fake_trainer
from torch import nn

from byoc_vision import artifact
from byoc_vision.training.weight_average import WeightAverage


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
