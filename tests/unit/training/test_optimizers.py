from __future__ import annotations

import copy
import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from byoc_vision.errors import InputError
from byoc_vision.models.build import build_model
from byoc_vision.training.optimizers import (
    OPTIMIZERS,
    SCHEDULES,
    build_optimizer,
    build_schedule,
    layer_factors,
    parameter_groups,
    schedule_factor,
)
from byoc_vision.types import ModelSpec


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> float:
    torch.manual_seed(1)
    loss = nn.functional.cross_entropy(model(torch.randn(16, 3, 3, 3)), torch.arange(16) % 2)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


class TestOptimizers:
    @pytest.mark.parametrize("name", OPTIMIZERS)
    def test_each_lowers_the_loss(self, name: str) -> None:
        model = network()
        optimizer = build_optimizer(name, model, 0.01, weight_decay=1e-4)
        losses = [step(model, optimizer) for _ in range(20)]
        assert losses[-1] < 0.7 * losses[0]

    @pytest.mark.parametrize("name", OPTIMIZERS)
    def test_each_goes_on_exactly_from_its_state(self, name: str) -> None:
        model = network()
        optimizer = build_optimizer(name, model, 0.01)
        step(model, optimizer)
        again = copy.deepcopy(model)
        resumed = build_optimizer(name, again, 0.01)
        resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        assert [step(model, optimizer) for _ in range(3)] == [step(again, resumed) for _ in range(3)]

    def test_nag_is_sgd_with_nesterov_s_momentum(self) -> None:
        assert build_optimizer("nag", network(), 0.1, momentum=0.8).defaults["nesterov"] is True
        assert build_optimizer("sgd", network(), 0.1, momentum=0.8).defaults["momentum"] == 0.8

    def test_biases_and_normalisation_do_not_decay(self) -> None:
        decayed, spared = parameter_groups(network(), 0.1)
        assert (decayed["weight_decay"], [tuple(p.shape) for p in decayed["params"]]) == (0.1, [(8, 3, 3, 3), (2, 8)])
        assert (spared["weight_decay"], [tuple(p.shape) for p in spared["params"]]) == (0.0, [(8,), (8,), (8,), (2,)])

    def test_frozen_parameters_are_left_alone(self) -> None:
        model = network()
        model[0].requires_grad_(False)
        decayed, spared = parameter_groups(model, 0.1)
        assert len(decayed["params"] + spared["params"]) == 4

    def test_each_layer_learns_at_its_share_of_the_rate_of_the_one_after(self) -> None:
        torch.manual_seed(0)
        net = build_model(ModelSpec(task="classification", architecture="resnet18", outputs=3))
        optimizer = build_optimizer("sgd", net, 0.1, weight_decay=0.2, layer_factors=layer_factors(net, 0.5))
        rates = {id(parameter): group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
        assert len(rates) == len(list(net.parameters()))
        assert rates[id(net.fc.weight)] == optimizer.param_groups[0]["lr"] == 0.1
        assert rates[id(net.layer4[1].conv1.weight)] == pytest.approx(0.05)
        assert rates[id(net.layer4[0].conv1.weight)] == pytest.approx(0.025)
        assert rates[id(net.conv1.weight)] == pytest.approx(0.1 * 0.5**9)
        spared = {id(p) for group in optimizer.param_groups if group["weight_decay"] == 0 for p in group["params"]}
        assert spared == {id(parameter) for parameter in net.parameters() if parameter.ndim == 1}

    def test_layers_that_are_not_known_are_refused_with_the_remedy(self) -> None:
        with pytest.raises(InputError, match=r"layer_decay is for timm's classifiers.*encoder_lr_factor"):
            layer_factors(network(), 0.5)
        assert layer_factors(network(), 1.0) == {}

    def test_a_name_that_is_not_known_is_answered_with_those_that_are(self) -> None:
        with pytest.raises(InputError, match="optimizer=lion is not known; take one of adamw, adam, sgd"):
            build_optimizer("lion", network(), 0.1)


names = st.sampled_from(SCHEDULES)
lengths = st.integers(1, 300)


class TestSchedules:
    @given(names, lengths, st.integers(0, 400), st.lists(st.integers(0, 300), max_size=3))
    def test_the_rate_is_never_negative_and_never_above_the_highest(
        self, name: str, total: int, warmup: int, milestones: list[int]
    ) -> None:
        factor = schedule_factor(name, total, min(warmup, total), milestones)
        assert all(0 <= factor(step) <= 1 + 1e-12 for step in range(total + 10))

    @given(st.sampled_from(["cosine", "poly", "constant"]), lengths, st.data())
    def test_the_last_step_of_the_warm_up_has_the_highest_rate(
        self, name: str, total: int, data: st.DataObject
    ) -> None:
        warmup = data.draw(st.integers(1, total))
        factor = schedule_factor(name, total, warmup)
        assert [factor(step) for step in range(warmup)] == pytest.approx([(s + 1) / warmup for s in range(warmup)])
        assert factor(warmup - 1) == 1

    @given(names, lengths, st.integers(0, 50))
    def test_after_its_highest_point_it_never_rises(self, name: str, total: int, warmup: int) -> None:
        factor = schedule_factor(name, total, min(warmup, total), [total // 2])
        rates = [factor(step) for step in range(total + 1)]
        after = rates[rates.index(max(rates)) :]
        assert all(later <= earlier + 1e-12 for earlier, later in pairwise(after))

    @pytest.mark.parametrize(("name", "end"), [("cosine", 0), ("poly", 0), ("constant", 1), ("one_cycle", 4e-6)])
    @given(total=lengths)
    def test_it_ends_where_it_should(self, name: str, end: float, total: int) -> None:
        assert schedule_factor(name, total)(total) == pytest.approx(end, abs=1e-12)

    def test_cosine_is_half_way_down_half_way_through(self) -> None:
        assert schedule_factor("cosine", 110, 10)(60) == pytest.approx(0.5)

    def test_poly_is_deeplab_s(self) -> None:
        assert schedule_factor("poly", 100)(75) == pytest.approx(0.25**0.9)

    def test_step_falls_at_the_epochs_given(self) -> None:
        model = network()
        optimizer = build_optimizer("sgd", model, 1.0)
        schedule = build_schedule("step", optimizer, total_steps=30, steps_per_epoch=5, step_epochs=(2, 4), factor=0.1)
        rates = []
        for _ in range(30):
            rates.append(schedule.get_last_lr()[0])
            optimizer.step()
            schedule.step()
        assert rates == pytest.approx([1.0] * 10 + [0.1] * 10 + [0.01] * 10)

    def test_one_cycle_is_torch_s(self) -> None:
        total = 200
        optimizer = torch.optim.SGD(network().parameters(), lr=0.1)
        theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=total + 1, cycle_momentum=False)
        ours = schedule_factor("one_cycle", total)
        expected = []
        for _ in range(total):
            expected.append(theirs.get_last_lr()[0])
            optimizer.step()
            theirs.step()
        assert [0.1 * ours(step) for step in range(total)] == pytest.approx(expected, abs=2e-3)
        assert max(ours(step) for step in range(total)) == pytest.approx(1)

    @given(names, st.integers(0, 40))
    def test_a_resumed_one_goes_on_where_it_was(self, name: str, done: int) -> None:
        def fresh() -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
            optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.3)
            options = {"total_steps": 40, "steps_per_epoch": 4, "warmup_epochs": 1.5, "step_epochs": (5,)}
            return optimizer, build_schedule(name, optimizer, **options)

        optimizer, schedule = fresh()
        for _ in range(done):
            optimizer.step()
            schedule.step()
        resumed_optimizer, resumed = fresh()
        resumed_optimizer.load_state_dict(optimizer.state_dict())
        resumed.load_state_dict(schedule.state_dict())
        for scheduled, stepped in ((schedule, optimizer), (resumed, resumed_optimizer)):
            stepped.step()
            scheduled.step()
        assert resumed.get_last_lr() == schedule.get_last_lr()
        assert resumed_optimizer.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]

    def test_a_warm_up_longer_than_the_training_is_cut(self) -> None:
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        schedule = build_schedule("cosine", optimizer, total_steps=4, steps_per_epoch=4, warmup_epochs=3)
        assert schedule.get_last_lr() == [0.25]

    def test_a_name_that_is_not_known_is_answered_with_those_that_are(self) -> None:
        with pytest.raises(InputError, match="lr_scheduler=exponential is not known; take one of cosine, poly"):
            schedule_factor("exponential", 10)

    def test_every_name_is_covered(self) -> None:
        assert all(math.isfinite(schedule_factor(name, 10, 2, [5])(7)) for name in SCHEDULES)


class TestEncoder:
    def test_it_learns_at_its_share_and_the_first_group_at_the_whole_rate(self) -> None:
        model = network()
        encoder = list(model[0].parameters()) + list(model[1].parameters())
        optimizer = build_optimizer("sgd", model, 0.1, weight_decay=0.5, encoder=encoder, encoder_lr_factor=0.01)
        schedule = build_schedule("constant", optimizer, total_steps=4, steps_per_epoch=2, warmup_epochs=1)
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == pytest.approx([0.05, 0.05, 0.0005, 0.0005])
        assert schedule.get_last_lr()[0] == pytest.approx(0.05)
        held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        assert len(held) == len(list(model.parameters()))
        assert {id(parameter) for parameter in held} == {id(parameter) for parameter in model.parameters()}
        assert [group["weight_decay"] for group in optimizer.param_groups] == [0.5, 0.0, 0.5, 0.0]
