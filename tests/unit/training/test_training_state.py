"""Optimisers, schedules and generators go on where they were."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

from byoc_vision.training.checkpoint import (
    optimizer_state,
    random_state,
    set_optimizer_state,
    set_random_state,
    set_schedule_steps,
)
from byoc_vision.training.checkpoint_file import on_cpu
from byoc_vision.training.optimizers import OPTIMIZERS, build_optimizer, build_schedule


class Training:
    """A network that learns from random images."""

    def __init__(self, name: str, learning_rate: float = 0.1) -> None:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 2))
        self.net = net.to(memory_format=torch.channels_last)
        self.optimizer = build_optimizer(name, self.net, learning_rate, weight_decay=0.1)
        self.schedule = build_schedule("cosine", self.optimizer, total_steps=10, steps_per_epoch=5)

    def step(self, count: int) -> None:
        for _ in range(count):
            self.optimizer.zero_grad()
            self.net(torch.randn(2, 3, 8, 8)).square().mean().backward()
            self.optimizer.step()
            self.schedule.step()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_resumed_optimiser_takes_the_same_steps(name: str) -> None:
    whole = Training(name)
    whole.step(3)
    saved = on_cpu((whole.net.state_dict(), optimizer_state(whole.optimizer, whole.net), random_state()))
    whole.step(4)

    resumed = Training(name)
    resumed.net.load_state_dict(saved[0])
    set_optimizer_state(resumed.optimizer, resumed.net, saved[1])
    set_schedule_steps(resumed.schedule, 3)
    set_random_state(saved[2])
    resumed.step(4)
    for one, other in zip(whole.net.parameters(), resumed.net.parameters(), strict=True):
        assert torch.equal(one, other)
    assert whole.schedule.get_last_lr() == resumed.schedule.get_last_lr()


def test_another_learning_rate_holds_after_resuming() -> None:
    first = Training("adamw")
    first.step(5)
    second = Training("adamw", learning_rate=0.01)
    set_optimizer_state(second.optimizer, second.net, optimizer_state(first.optimizer, first.net))
    set_schedule_steps(second.schedule, 5)
    assert second.schedule.get_last_lr() == pytest.approx([0.005, 0.005])
    assert [group["lr"] for group in second.optimizer.param_groups] == pytest.approx([0.005, 0.005])


def test_every_generator_is_restored() -> None:
    def draw() -> tuple[float, float, float, float]:
        return random.random(), np.random.rand(), np.random.normal(), torch.rand(1).item()

    random.gauss(0, 1)
    np.random.normal()  # leaves the second of a pair behind
    state = random_state()
    expected = draw()
    draw()
    set_random_state(state)
    assert draw() == expected
