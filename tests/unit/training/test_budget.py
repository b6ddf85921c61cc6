"""A training within a time, on a clock that tests turn."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from support import forked, shared_budget
from support.fake_training import At, fake_trainer
from torch import Tensor

from byoc_vision import artifact
from byoc_vision.data.samples import Dataset, Sample
from byoc_vision.errors import InputError
from byoc_vision.hyperparameters import parse
from byoc_vision.launch.distributed import World
from byoc_vision.launch.signals import StopSignals
from byoc_vision.recipe.auto_recipe import Choice
from byoc_vision.training.batch_layout import Length
from byoc_vision.training.budget import MOST_EPOCHS, Budget, fitting_budget
from byoc_vision.training.budget_plan import INT8_SECONDS, Ending, ServedPlan, Speed, steps_that_fit
from byoc_vision.training.callback import Callback
from byoc_vision.training.trainer import Trainer
from byoc_vision.types import ClassInfo

BATCHES = 10  # steps of a pass
MEASURED = Speed(1.0, 5.0)


class Clock(Callback):
    """Steps take `step` seconds, evaluations `evaluation`; `slower` changes both from a step on."""

    def __init__(self, step: float = 1.0, evaluation: float = 5.0, slower: tuple[int, float] = (10**9, 1.0)) -> None:
        self.step, self.evaluation, self.slower = step, evaluation, slower
        self.seconds, self.steps = 0.0, 0

    def __call__(self) -> float:
        return self.seconds

    @property
    def factor(self) -> float:
        return self.slower[1] if self.steps > self.slower[0] else 1.0

    def step_begin(self) -> None:
        self.steps += 1
        self.seconds += self.step * self.factor

    def batch_validated(self) -> None:
        """Called twice in an evaluation: after its batch, and at its end."""
        self.seconds += self.evaluation * self.factor / 2


class Rates(Callback):
    """The learning rate of each step, as a share of the highest one."""

    trainer: Trainer

    def __init__(self) -> None:
        self.seen: list[float] = []

    def batch_moved(self, images: Tensor, targets: Tensor) -> None:
        self.seen.append(self.trainer.learning_rate / self.trainer.hyperparameters.learning_rate)


def budget_of(clock: Clock, seconds: float, speed: Speed) -> Callable[[Length], Budget]:
    def make(length: Length) -> Budget:
        now = datetime(2026, 3, 1, 12, tzinfo=UTC)
        budget = Budget("a while", seconds, length, Ending(), 10**6, speed, clock=clock, now=lambda: now)
        length.steps = length.planned = budget.fit()
        return budget

    return make


def train(root: Path, clock: Clock, seconds: float, *followers: Callback, speed: Speed | None = None) -> Trainer:
    """speed: as it was measured; by default as the clock has it."""
    make = budget_of(clock, seconds, speed or Speed(clock.step, clock.evaluation))
    trainer = fake_trainer(root, [1] * 500, clock, *followers, batches=BATCHES, budget=make)
    for follower in followers:
        if isinstance(follower, Rates):
            follower.trainer = trainer
    trainer.train()
    return trainer


# How many steps fit


@pytest.mark.parametrize(
    ("seconds", "steps"),
    [
        (15, 10),  # one pass and its evaluation
        (29, 19),
        (30, 20),
        (25, 15),  # a pass that is cut short
        (20.5, 10),  # less than a tenth of a pass is left out
        (12, 7),
        (4, 0),
        (-10, 0),
        (15 * 12 + 9, 120),  # of many passes the last one is whole
    ],
)
def test_steps_that_fit(seconds: float, steps: int) -> None:
    assert steps_that_fit(seconds, Speed(1.0, 5.0), Length(1000, BATCHES), epoch=1, into=0) == steps


def test_steps_that_fit_on_the_way() -> None:
    length = Length(1000, BATCHES)
    assert steps_that_fit(11, Speed(1.0, 5.0), length, epoch=3, into=4) == 30
    assert steps_that_fit(8, Speed(1.0, 5.0), length, epoch=3, into=4) == 27
    assert steps_that_fit(0, Speed(1.0, 5.0), length, epoch=3, into=4) == 24


# A training


def test_the_training_ends_in_time_and_its_schedule_at_its_end(tmp_path: Path) -> None:
    clock, rates = Clock(), Rates()
    trainer = train(tmp_path, clock, 100, rates)
    record = trainer.run().budget
    assert record is not None
    assert record.planned.steps == record.actual.steps == clock.steps
    assert record.changes == 0
    assert record.schedule == 1
    assert trainer.learning_rate == 0
    assert 85 <= clock.seconds <= 100
    assert rates.seen == sorted(rates.seen, reverse=True)
    assert trainer.run().planned_epochs == len(trainer.history.records)


@pytest.mark.parametrize("factor", [0.25, 0.5, 2.0, 5.0])
def test_a_machine_of_another_speed_than_measured_ends_in_time_without_a_jump_of_the_rate(
    tmp_path: Path, factor: float
) -> None:
    clock, rates = Clock(slower=(20, factor)), Rates()
    trainer = train(tmp_path, clock, 300, rates)
    record = trainer.run().budget
    assert record is not None
    assert record.changes > 0
    assert (record.actual.steps < record.planned.steps) == (factor > 1)
    assert record.schedule == 1
    assert trainer.learning_rate == 0
    assert 250 <= clock.seconds <= 300
    assert max(before - after for before, after in zip(rates.seen, rates.seen[1:], strict=False)) < 0.15


def test_a_machine_that_almost_stops_evaluates_what_it_has_and_keeps_the_best_model(tmp_path: Path) -> None:
    clock = Clock(slower=(25, 40.0))
    trainer = train(tmp_path, clock, 200)
    assert 26 <= clock.steps <= 29
    assert len(trainer.history.records) == 3
    assert artifact.read_config(tmp_path / "model").metrics["validation:accuracy"] == 0.25
    assert trainer.run("finished").state == "finished"


def test_a_slow_evaluation_is_followed_by_no_pass_for_which_there_is_no_time(tmp_path: Path) -> None:
    trainer = train(tmp_path, Clock(step=1, evaluation=60), 100, speed=Speed(1, 5))
    assert len(trainer.history.records) == 1
    assert trainer.complete


def test_the_log_says_the_plan_and_each_change(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    train(tmp_path, Clock(slower=(20, 2.0)), 300)
    lines = [entry.getMessage() for entry in caplog.records if entry.getMessage().startswith("budget: ")]
    assert lines[0] == (
        "budget: 5 min 00 s; a step takes 1 s, an evaluation 5 s: 19 epochs, 190 steps, ends about 12:04:45 UTC"
    )
    assert "the training ends after" in lines[1]


# Resumption


def test_a_resumed_job_brings_its_time_and_makes_the_same_steps(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", Clock(), 100)
    signals, clock = StopSignals(), Clock()
    make = budget_of(clock, 100, Speed(1, 5))
    stop = At(2, 4, lambda: setattr(signals, "requested", True))
    stopped = fake_trainer(tmp_path / "cut", [1] * 50, clock, stop, batches=BATCHES, budget=make, signals=signals)
    stopped.train()
    again = Clock()
    resumed = fake_trainer(
        tmp_path / "cut", [1] * 50, again, batches=BATCHES, budget=budget_of(again, 100, Speed(1, 5))
    )
    resumed.train()
    assert clock.steps + again.steps == whole.length.steps
    for name, value in whole.net.state_dict().items():
        assert torch.equal(value, resumed.net.state_dict()[name]), name
    assert resumed.budget is not None
    assert resumed.budget.spent == 19


def test_a_job_that_has_used_its_budget_trains_on_with_a_larger_one_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = train(tmp_path, Clock(), 50)
    again = train(tmp_path, Clock(), 50)
    assert "Set a higher `budget` or `epochs` to go on" in caplog.text
    assert len(again.history.records) == len(first.history.records)
    clock = Clock()
    longer = train(tmp_path, clock, 100)
    assert len(longer.history.records) > len(first.history.records)
    assert longer.learning_rate == 0
    assert clock.seconds <= 50


# What fits before the first step


def found(
    text: str = "5m",
    speed: Speed = MEASURED,
    elapsed: float = 20.0,
    given: str = "",
    checkpoint: Mapping[str, Any] | None = None,
    **changes: str,
) -> tuple[Budget, Length]:
    settings = parse({"budget": text, **changes})
    length = Length.of(settings, BATCHES)
    ending, names = Ending(seconds=10), frozenset(given.split())
    budget = fitting_budget(
        settings,
        60.0 * int(text[:-1]),
        names,
        length,
        ending,
        World(),
        lambda: elapsed,
        checkpoint,
        lambda _: speed,
    )
    return budget, length


def test_a_budget_too_short_for_one_pass_says_what_it_would_take() -> None:
    with pytest.raises(InputError, match=r"budget=1m is too short for one pass .* takes 1 min 17 s in all: 20 s until"):
        found("1m", speed=Speed(4.0, 5.0))
    with pytest.raises(InputError, match=r"10 steps of 4 s, an evaluation of 5 s, and 10 s .* Set budget=120s or more"):
        found("1m", speed=Speed(4.0, 5.0))


def test_the_budget_decides_how_many_epochs_there_are_and_says_so() -> None:
    budget, length = found()
    assert length.epochs == 17
    settings, choices = budget.settings(parse({"budget": "5m"}), (), frozenset())
    assert settings.epochs == 17
    assert choices == (Choice("epochs", 17, "as many fit into budget=5m"),)


def test_epochs_that_are_given_are_the_most() -> None:
    assert found(given="epochs", epochs="4")[1].epochs == 4
    assert found(given="epochs", epochs="90")[1].epochs == 17
    budget, length = found(given="steps", steps="33")
    assert length.steps == 33
    assert budget.settings(parse({"budget": "5m", "steps": "33"}), (), frozenset({"steps"}))[0].steps == 33


def test_tiny_data_are_not_trained_on_without_end() -> None:
    assert found(speed=Speed(0.001, 0.001))[1].epochs == MOST_EPOCHS


def test_the_warm_up_is_a_tenth_of_what_fits_at_most() -> None:
    budget, _ = found("2m", speed=Speed(3.0, 5.0))
    warm = Choice("warmup_epochs", 1.0, "the head is good from the start")
    settings, choices = budget.settings(parse({"warmup_epochs": "1"}), (warm,), frozenset())
    assert settings.warmup_epochs < 0.3
    assert [choice.value for choice in choices if choice.name == "warmup_epochs"] == [settings.warmup_epochs]
    assert budget.settings(parse({"warmup_epochs": "1"}), (), frozenset({"warmup_epochs"}))[0].warmup_epochs == 1


def test_a_job_that_goes_on_with_a_larger_budget_keeps_its_warm_up() -> None:
    planned = {"planned": 4 * BATCHES}
    checkpoint = {"budget": {"speed": MEASURED}, "hyperparameters": {"warmup_epochs": 0.4}, "length": planned}
    budget, length = found("5m", checkpoint=checkpoint)
    assert length.epochs > 4
    assert budget.settings(parse({"warmup_epochs": "1"}), (), frozenset())[0].warmup_epochs == 0.4


def test_the_average_of_the_weights_is_evaluated_after_each_pass_too() -> None:
    assert found(ema_decay="0.9")[1].steps < found()[1].steps


def dataset(validation: int, test: int = 0) -> Dataset:
    image = Sample(Path("1.png"), label=0)
    return Dataset(
        "classification", (ClassInfo("a"), ClassInfo("b")), (image,), (image,) * validation, test=(image,) * test
    )


def test_time_is_left_for_the_test_the_export_and_int8() -> None:
    speed, world = Speed(1.0, 10.0), World()
    nothing = Ending.of(parse({"openvino": "false"}), dataset(100), world, 3600).reserve(speed, 0)
    test = Ending.of(parse({"openvino": "false"}), dataset(100, test=200), world, 3600).reserve(speed, 0)
    assert test == nothing + 20
    soup = Ending.of(parse({"openvino": "false", "soup": "3"}), dataset(100), world, 3600).reserve(speed, 0)
    masks = Ending.of(parse({"openvino": "false", "min_area": "auto"}), dataset(100), world, 3600).reserve(speed, 0)
    assert (soup, masks) == (nothing + 10, nothing + 30)
    export = Ending.of(parse({"int8": "false"}), dataset(100), world, 3600).reserve(speed, 0)
    quantised = Ending.of(parse({}), dataset(100), world, 3600).reserve(speed, 0)
    assert nothing + speed.evaluation < export < quantised
    for less in (Ending.of(parse({}), dataset(100), world, 60), Ending.of(parse({}), dataset(50), world, 3600)):
        assert less.reserve(speed, 0) == export, "too little time, or too few images to tell a loss"
    assert Ending.of(parse({"int8": "true"}), dataset(100), world, 60).reserve(speed, 0) == quantised
    few = Ending.of(parse({"int8": "true"}), dataset(50), world, 60).reserve(speed, 0)
    assert few > export + INT8_SECONDS, "int8=true takes any number of images"


def test_the_images_that_calibrate_int8_take_their_time_as_far_as_there_is_any() -> None:
    one, evaluation = 0.1, 10.0

    def reserve(most: float, calibration: int = 300) -> float:
        return ServedPlan(1, 100, calibration, processes=1, most=most).reserve(evaluation)

    without = reserve(0)
    assert without == 10

    whole = without + INT8_SECONDS + evaluation
    assert reserve(math.inf) == pytest.approx(whole + 3 * 300 * one)
    assert reserve(math.inf, calibration=50) == pytest.approx(whole + 3 * 50 * one)
    assert reserve(100.0) == 100, "fewer images are calibrated on"
    assert reserve(whole + 3 * 30 * one) == without, "not even few"


# Its text


@pytest.mark.parametrize("text", ["90s", "20m", "1h", "1h30m", "1h 30m", "2H", "auto", "100m"])
def test_budgets(text: str) -> None:
    assert parse({"budget": text}).budget == text.replace(" ", "").lower()


@pytest.mark.parametrize("text", ["5 parsecs", "20", 20, "m", "-5m", "1.5h", "20m!", "30m1h", "0x1s"])
def test_a_time_needs_its_unit(text: object) -> None:
    with pytest.raises(InputError, match=r"budget: must be a time with its unit, as 90s, 20m, 1h or 1h30m, or auto"):
        parse({"budget": text})


@pytest.mark.parametrize("text", ["0s", "0h0m", "2401h"])
def test_a_time_has_bounds(text: str) -> None:
    with pytest.raises(InputError, match="budget: must be a time above 0 and of at most 100 days"):
        parse({"budget": text})


# Several processes


def test_all_processes_follow_the_clock_of_the_first(tmp_path: Path) -> None:
    store, log = str(tmp_path / "store"), tmp_path / "log"
    second = forked.start(shared_budget.tell_steps, 1, store, log=log)
    mine = shared_budget.steps_together(0, store)
    assert second.wait(60) == 0, log.read_text()
    assert log.read_text().splitlines()[-1] == str(mine)
    steps, place = mine[-1]
    assert steps == len(mine) == place * len(mine) / mine[0][0]
    assert len({steps for steps, _ in mine}) > 1, "the plan changed on the way"
