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

from byoc_vision.launch.distributed import World
from byoc_vision.report.record import StepTimes
from byoc_vision.training.callbacks.step_timer import MOST_SLOW_STEPS, StepTimer, Throughput

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

    def wait(self, mark: float) -> None:
        self.clock.now = max(self.clock.now, mark)


def batches(clock: Clock, count: int, wait: float) -> Iterator[tuple[Tensor, Tensor]]:
    for _ in range(count):
        clock.now += wait
        yield NOTHING, NOTHING


def make_step(timer: StepTimer, clock: Clock, size: int = 1, forward: float = 3.0) -> None:
    """A step of `size` batches: 1 s to move each, `forward`, 4 to differentiate, 2 for the optimiser."""
    timer.step_begin()
    for _ in range(size):
        clock.now += 1
        timer.batch_moved(NOTHING, NOTHING)
        clock.now += forward
        timer.loss_computed(NOTHING, NOTHING)
        clock.now += 4
        timer.gradients_computed()
    clock.now += 0.5
    timer.gradients_ready()
    clock.now += 1.5
    timer.step_end()


def train(timer: StepTimer, clock: Clock, forwards: list[float], epoch: int = 1, done: int = 0) -> None:
    timer.epoch_begin(epoch, done)
    for forward, _ in zip(forwards, timer.watch(batches(clock, len(forwards) + 1, 2.0))):  # noqa: B905
        make_step(timer, clock, forward=forward)
        clock.now += 7  # a checkpoint, say
    timer.epoch_trained()


def test_each_part_of_a_step_has_its_own_time() -> None:
    clock = Clock()
    timer = StepTimer(CPU, clock)
    for _ in timer.watch(batches(clock, 3, 2.0)):
        make_step(timer, clock)
        clock.now += 7
    timer.epoch_trained()
    assert timer.steps == 3
    expected = StepTimes(data_wait=6, to_device=3, forward=9, backward=12, optimizer=6, other=21)
    assert timer.total == expected
    assert timer.total.total == clock.now


def test_a_step_of_several_batches_is_one_step() -> None:
    clock = Clock()
    timer = StepTimer(CPU, clock)
    watched = timer.watch(batches(clock, 5, 2.0))
    for group in ([1, 2], [3, 4], [5]):
        for _ in group:
            next(watched)
        make_step(timer, clock, size=len(group))
    timer.epoch_trained()
    assert timer.steps == 3
    assert timer.total == StepTimes(data_wait=10, to_device=5, forward=15, backward=20, optimizer=6)


def test_an_epoch_that_is_left_counts_the_steps_it_made() -> None:
    clock = Clock()
    timer = StepTimer(CPU, clock)
    for _ in itertools.islice(timer.watch(batches(clock, 9, 2.0)), 2):
        make_step(timer, clock)
    timer.epoch_trained()
    assert timer.steps == 2
    assert timer.total.total == clock.now


def test_the_time_between_epochs_does_not_count_as_a_step() -> None:
    clock = Clock()
    timer = StepTimer(CPU, clock)
    train(timer, clock, [1.0])
    clock.now += 1000
    train(timer, clock, [1.0], epoch=2)
    assert timer.steps == 2
    assert timer.total.total < 100


@given(st.lists(st.floats(0, 100), max_size=40), st.integers(0, 5))
def test_the_slowest_steps_are_named(forwards: list[float], done: int) -> None:
    clock = Clock()
    timer = StepTimer(CPU, clock)
    train(timer, clock, forwards, epoch=3, done=done)
    slowest = timer.slowest
    expected = sorted(enumerate(forwards, start=done + 1), key=lambda item: -item[1])[:MOST_SLOW_STEPS]
    assert [slow.times.forward for slow in slowest] == pytest.approx([forward for _, forward in expected], abs=1e-6)
    assert all(
        slow.epoch == 3 and slow.times.forward == pytest.approx(forwards[slow.step - done - 1]) for slow in slowest
    )
    assert all(slow.seconds == pytest.approx(slow.times.total) for slow in slowest)
    assert timer.steps == len(forwards)
    assert timer.total.total == pytest.approx(clock.now)


def test_a_device_that_is_behind_is_not_asked_before_it_is_there() -> None:
    clock = Clock()
    device = DistantDevice(clock, behind=150.0)
    timer = StepTimer(CPU, clock, device)
    train(timer, clock, [3.0] * 200)
    assert device.reads_too_early == 0
    assert timer.steps == 200
    assert timer.total.forward == pytest.approx(600)


def test_few_steps_are_held_however_many_there_are() -> None:
    clock = Clock()
    timer = StepTimer(CPU, clock)
    most = 0
    for _ in timer.watch(batches(clock, 500, 0.1)):
        make_step(timer, clock)
        most = max(most, len(timer._unread))
    assert most <= 65


class BusyDevice(DistantDevice):
    """It stands still for longer than anybody waited: starting the next kernel took it, say."""

    def seconds(self, begun: Any, ended: Any) -> float:
        return 10.0


def test_no_more_is_waiting_than_was_waited() -> None:
    clock = Clock()
    timer = StepTimer(CPU, clock, BusyDevice(clock, 0.0))
    for _ in itertools.islice(timer.watch(batches(clock, 9, 2.0)), 1):
        make_step(timer, clock)
    timer.epoch_trained()
    assert timer.total.data_wait == 2.0
    assert timer.total.other >= 8.0


def slow_batches(clock: Clock, count: int, size: int, seconds: float) -> Iterator[tuple[Tensor, Tensor]]:
    for _ in range(count):
        clock.now += seconds
        yield torch.zeros(size, 3, 2, 2), torch.zeros(size)


def throughput_of(timer: StepTimer) -> Throughput:
    timer.epoch_trained()
    timer.gather_throughput(World())
    return timer.throughput


def test_the_shares_of_an_epoch() -> None:
    clock = Clock()
    timer = StepTimer(CPU, clock)
    for _ in timer.watch(slow_batches(clock, count=5, size=8, seconds=1.0)):
        clock.now += 3.0
    throughput = throughput_of(timer)
    assert throughput.images_per_second == pytest.approx(40 / 20)
    assert throughput.data_wait == pytest.approx(0.25)
    assert throughput.waited == pytest.approx(5)
    assert throughput.waits == pytest.approx((0.25,))


def test_an_epoch_that_is_left_early() -> None:
    clock = Clock()
    timer = StepTimer(CPU, clock)
    for _ in itertools.islice(timer.watch(slow_batches(clock, count=5, size=8, seconds=1.0)), 2):
        clock.now += 1.0
    assert throughput_of(timer).images_per_second == pytest.approx(16 / 4)


def test_no_batches_at_all() -> None:
    clock = Clock()
    timer = StepTimer(CPU, clock)
    assert list(timer.watch(slow_batches(clock, count=0, size=1, seconds=0))) == []
    assert throughput_of(timer) == Throughput()


def test_each_epoch_has_its_own_steps_and_speed() -> None:
    clock = Clock()
    timer = StepTimer(CPU, clock)
    train(timer, clock, [1.0, 5.0])
    assert timer.epoch_seconds == [17.0, 21.0]
    timer.gather_throughput(World())
    slower = timer.throughput.images_per_second
    train(timer, clock, [0.0], epoch=2)
    assert timer.epoch_seconds == [16.0]
    timer.gather_throughput(World())
    assert timer.throughput.images_per_second > slower
