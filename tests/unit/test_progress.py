"""Lines that say how far work is, at the times of a clock that the tests move."""

from __future__ import annotations

import logging
import sys
import threading

import pytest

from byoc_vision.describe.metrics import metric_definitions, metrics_in
from byoc_vision.progress import Progress, Schedule, alive, clock_time


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def times_of(schedule: Schedule, clock: Clock, until: int) -> list[int]:
    due = []
    for second in range(1, until + 1):
        clock.seconds = second
        if schedule.is_due():
            due.append(second)
    return due


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.message.startswith("progress:")]


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def test_every_30_seconds_at_first_then_every_two_minutes() -> None:
    clock = Clock()
    schedule = Schedule(clock)
    schedule.restart()
    assert times_of(schedule, clock, until=1000) == [*range(30, 601, 30), 720, 840, 960]


def test_other_work_begins_its_own_interval() -> None:
    clock = Clock()
    schedule = Schedule(clock)
    schedule.restart()
    clock.seconds = 29
    schedule.restart()
    clock.seconds = 58
    assert not schedule.is_due()
    clock.seconds = 59
    assert schedule.is_due()


def test_a_line_says_the_share_the_speed_and_the_time_left(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    with Progress("checking", 1000, schedule=Schedule(clock)) as progress:
        for done in range(1, 451):
            clock.seconds = done / 10
            progress.update()
    assert lines(caplog) == ["progress: checking done=30.0% images=300/1000 images/s=10 left=0:01:10"]
    assert metrics_in(lines(caplog)[0], metric_definitions()) == {}


@pytest.mark.parametrize(
    ("total", "unit", "seconds", "expected"),
    [
        (None, "images", 40, "progress: evaluating images=20 images/minute=30"),
        (40, "trials", 4000, "progress: evaluating done=50.0% trials=20/40 trials/minute=0.3 left=1:06:40"),
        (40, "images", 0, "progress: evaluating done=50.0% images=20/40 images/s=0"),
    ],
)
def test_work_that_is_slow_or_has_no_known_end(total: int | None, unit: str, seconds: float, expected: str) -> None:
    clock = Clock()
    progress = Progress("evaluating", total, unit=unit, schedule=Schedule(clock))
    progress.update(20)
    clock.seconds = seconds
    assert progress.line() == expected


def test_what_an_earlier_start_did_does_not_count_for_the_speed() -> None:
    clock = Clock()
    progress = Progress("tuning", 40, unit="trials", initial=20, schedule=Schedule(clock))
    clock.seconds = 10
    progress.update(10, note="best=0.9 best_trial=3")
    assert progress.line() == ("progress: tuning done=75.0% trials=30/40 trials/s=1 left=0:00:10 best=0.9 best_trial=3")


def test_only_the_first_process_writes(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    with Progress("evaluating", 10, enabled=False, schedule=Schedule(clock)) as progress:
        clock.seconds = 100
        progress.update()
    assert lines(caplog) == []


def test_a_terminal_shows_a_bar_instead(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    clock = Clock()
    with Progress("checking", 10, schedule=Schedule(clock)) as progress:
        clock.seconds = 100
        progress.update()
    assert lines(caplog) == []
    assert "checking" in capsys.readouterr().err


def test_work_that_cannot_be_counted_says_how_long_it_lasts(caplog: pytest.LogCaptureFixture) -> None:
    clock, asked = Clock(), threading.Event()
    schedule = Schedule(clock)
    ask = schedule.is_due

    def is_due() -> bool:
        clock.seconds = 90
        due = ask()
        asked.set()
        return due

    schedule.is_due = is_due  # type: ignore[method-assign]
    with alive("exporting to onnx", schedule, look_every=0.01):
        assert asked.wait(60)
    assert lines(caplog)[0] == "progress: exporting to onnx elapsed=0:01:30"


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00:00"), (59.6, "0:01:00"), (3723, "1:02:03"), (-1, "0:00:00")])
def test_times(seconds: float, text: str) -> None:
    assert clock_time(seconds) == text
