"""The fastest of several precisions is taken, if it is faster than float32 by enough to matter.

The engines here take the time that a test gives them, on a clock that only they move.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import pytest

from byoc_vision.inference.engines.fastest import LEAST_RUNS, SECONDS_EACH, choose_fastest

IMAGE = np.zeros((1, 2, 2, 3), np.uint8)


class Clock:
    """Seconds, and the order in which the engines ran."""

    def __init__(self) -> None:
        self.now = 0.0
        self.order: list[str] = []

    def __call__(self) -> float:
        return self.now


class Timed:
    """An engine that takes the given seconds for each run in turn, and the last of them from then on."""

    def __init__(self, clock: Clock, precision: str, seconds: Sequence[float]) -> None:
        self.clock, self.precision, self.seconds = clock, precision, list(seconds)

    def run(self, images: np.ndarray) -> None:
        self.clock.order.append(self.precision)
        self.clock.now += self.seconds.pop(0) if len(self.seconds) > 1 else self.seconds[0]


def choose(clock: Clock, images: np.ndarray = IMAGE, **seconds: Sequence[float]) -> str:
    return choose_fastest([Timed(clock, *item) for item in seconds.items()], images, clock).precision


@pytest.mark.parametrize(
    ("float32", "bfloat16", "chosen"),
    [
        (0.0239, 0.0408, "float32"),
        (0.040, 0.020, "bfloat16"),
        (0.100, 0.091, "float32"),  # not a tenth faster
        (0.100, 0.090, "bfloat16"),
        (0.100, 0.100, "float32"),
    ],
)
def test_another_precision_must_be_a_tenth_faster(float32: float, bfloat16: float, chosen: str) -> None:
    assert choose(Clock(), float32=[float32], bfloat16=[bfloat16]) == chosen


def test_the_fastest_of_several_is_taken() -> None:
    assert choose(Clock(), float32=[0.04], bfloat16=[0.03], int8=[0.01]) == "int8"


def test_the_log_names_each_time_for_one_image(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        choose(Clock(), IMAGE.repeat(2, axis=0), float32=[0.0478], bfloat16=[0.0816])
    assert caplog.messages == ["OpenVINO: float32 23.9 ms, bfloat16 40.8 ms per image; float32 serves"]


def test_the_shortest_run_counts() -> None:
    """Other work on the machine makes runs longer, never shorter."""
    assert choose(Clock(), float32=[0.04], bfloat16=[0.5, 0.02, 0.5]) == "bfloat16"


def test_they_take_turns_until_their_time_is_up() -> None:
    clock = Clock()
    choose(clock, float32=[0.05], bfloat16=[0.05])
    assert clock.order == ["float32", "bfloat16"] * (len(clock.order) // 2)
    assert clock.now == pytest.approx(2 * SECONDS_EACH, abs=0.11)


def test_slow_ones_run_a_few_times_only() -> None:
    clock = Clock()
    choose(clock, float32=[5.0], bfloat16=[9.0])
    assert clock.order == ["float32", "bfloat16"] * LEAST_RUNS


def test_a_single_one_is_not_measured(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    with caplog.at_level(logging.INFO):
        assert choose(clock, float32=[1.0]) == "float32"
    assert (clock.order, caplog.messages) == ([], [])
