"""Where the time of steps goes, by a clock that the test moves; real steps are measured in test_instruments.py."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from byoc_vision.report.record import StepTimes
from byoc_vision.training.callbacks.step_timer import MOST_SLOW_STEPS, Timeline

CPU = torch.device("cpu")
NOTHING = torch.zeros(1)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class DistantDevice:
    """A device that works through what it is given `behind` seconds after it is asked, as a GPU does."""

    def __init__(self, clock: Clock, behind: float) -> None:
        self.clock, self.behind, self.reads_too_early = clock, behind, 0

    def mark(self) -> float:
        return self.clock.now + self.behind

    def passed(self, mark: float) -> bool:
        return mark <= self.clock.now

    def seconds(self, begun: float, ended: float) -> float:
        self.reads_too_early += ended > self.clock.now
        return ended - begun

    def wait(self) -> None:
        self.clock.now += self.behind


def batches(clock: Clock, count: int, wait: float) -> Iterator[tuple[Tensor, Tensor]]:
    for _ in range(count):
        clock.now += wait
        yield NOTHING, NOTHING


def make_step(timeline: Timeline, clock: Clock, size: int = 1, forward: float = 3.0) -> None:
    """A step of `size` batches: 1 s to move each, `forward`, 4 to differentiate, 2 for the optimiser."""
    timeline.step_begins()
    for _ in range(size):
        clock.now += 1
        timeline.batch_moved(NOTHING, NOTHING)
        clock.now += forward
        timeline.loss_computed(NOTHING, NOTHING)
        clock.now += 4
        timeline.gradients_computed()
    clock.now += 0.5
    timeline.gradients_ready(1.0)
    clock.now += 1.5
    timeline.step_ends()


def train(timeline: Timeline, clock: Clock, forwards: list[float], epoch: int = 1, done: int = 0) -> None:
    for forward, _ in zip(forwards, timeline.watch(batches(clock, len(forwards) + 1, 2.0), epoch, done)):  # noqa: B905
        make_step(timeline, clock, forward=forward)
        clock.now += 7  # a checkpoint, say
    timeline.settle()


def test_each_part_of_a_step_has_its_own_time() -> None:
    clock = Clock()
    timeline = Timeline(CPU, clock)
    for _ in timeline.watch(batches(clock, 3, 2.0)):
        make_step(timeline, clock)
        clock.now += 7
    timeline.settle()
    times = timeline.times()
    assert times.steps == 3
    expected = StepTimes(data_wait=6, to_device=3, forward=9, backward=12, optimizer=6, other=21)
    assert times.total == expected
    assert times.total.total == clock.now


def test_a_step_of_several_batches_is_one_step() -> None:
    clock = Clock()
    timeline = Timeline(CPU, clock)
    watched = timeline.watch(batches(clock, 5, 2.0))
    for group in ([1, 2], [3, 4], [5]):
        for _ in group:
            next(watched)
        make_step(timeline, clock, size=len(group))
    timeline.settle()
    assert timeline.steps == 3
    assert timeline.total == StepTimes(data_wait=10, to_device=5, forward=15, backward=20, optimizer=6)


def test_an_epoch_that_is_left_counts_the_steps_it_made() -> None:
    clock = Clock()
    timeline = Timeline(CPU, clock)
    for _ in itertools.islice(timeline.watch(batches(clock, 9, 2.0)), 2):
        make_step(timeline, clock)
    timeline.settle()
    assert timeline.steps == 2
    assert timeline.total.total == clock.now


def test_the_time_between_epochs_is_no_steps() -> None:
    clock = Clock()
    timeline = Timeline(CPU, clock)
    train(timeline, clock, [1.0])
    clock.now += 1000
    train(timeline, clock, [1.0], epoch=2)
    assert timeline.steps == 2
    assert timeline.total.total < 100


@given(st.lists(st.floats(0, 100), max_size=40), st.integers(0, 5))
def test_the_slowest_steps_are_named(forwards: list[float], done: int) -> None:
    clock = Clock()
    timeline = Timeline(CPU, clock)
    train(timeline, clock, forwards, epoch=3, done=done)
    slowest = timeline.times().slowest
    expected = sorted(enumerate(forwards, start=done + 1), key=lambda item: -item[1])[:MOST_SLOW_STEPS]
    assert [slow.times.forward for slow in slowest] == pytest.approx([forward for _, forward in expected], abs=1e-6)
    assert all(
        slow.epoch == 3 and slow.times.forward == pytest.approx(forwards[slow.step - done - 1]) for slow in slowest
    )
    assert all(slow.seconds == pytest.approx(slow.times.total) for slow in slowest)
    assert timeline.steps == len(forwards)
    assert timeline.total.total == pytest.approx(clock.now)


def test_a_device_that_is_behind_is_not_asked_before_it_is_there() -> None:
    clock = Clock()
    device = DistantDevice(clock, behind=150.0)
    timeline = Timeline(CPU, clock, device)
    train(timeline, clock, [3.0] * 200)
    assert device.reads_too_early == 0
    assert timeline.steps == 200
    assert timeline.total.forward == pytest.approx(600)


def test_few_steps_are_held_however_many_there_are() -> None:
    clock = Clock()
    timeline = Timeline(CPU, clock)
    most = 0
    for _ in timeline.watch(batches(clock, 500, 0.1)):
        make_step(timeline, clock)
        most = max(most, len(timeline._unread))
    assert most <= 65


class BusyDevice(DistantDevice):
    """It stands still for longer than anybody waited: starting the next kernel took it, say."""

    def seconds(self, begun: Any, ended: Any) -> float:
        return 10.0


def test_no_more_is_waiting_than_was_waited() -> None:
    clock = Clock()
    timeline = Timeline(CPU, clock, BusyDevice(clock, 0.0))
    for _ in itertools.islice(timeline.watch(batches(clock, 9, 2.0)), 1):
        make_step(timeline, clock)
    timeline.settle()
    assert timeline.total.data_wait == 2.0
    assert timeline.total.other >= 8.0
