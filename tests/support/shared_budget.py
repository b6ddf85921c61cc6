"""A process's steps under a budget: run by a test in two processes, whose clocks differ."""

from __future__ import annotations

from support.gloo import joined

from byoc_vision.launch.distributed import World
from byoc_vision.training.batch_layout import Length
from byoc_vision.training.budget import Budget
from byoc_vision.training.budget_plan import Ending, Speed

PER_EPOCH = 10


class Clock:
    """The second process takes its steps to be ten times as long as they are."""

    def __init__(self, rank: int) -> None:
        self.seconds, self.factor = 0.0, 1.0 + 9.0 * rank

    def __call__(self) -> float:
        return self.seconds

    def passes(self, seconds: float) -> None:
        self.seconds += self.factor * seconds


def steps(rank: int) -> list[tuple[int, float]]:
    """After each step: how many there are to be, and where the schedule is. Steps become slower on the way."""
    clock, length, made = Clock(rank), Length(10**6, PER_EPOCH), 0
    budget = Budget("5m", 300.0, length, Ending(), 10**6, Speed(1.0, 5.0), World(rank, rank, 2), clock)
    length.steps = length.planned = budget.fit()
    budget.begin(1, 0)
    seen = []
    for epoch in range(1, 1000):
        budget.begin_epoch()
        for into in range(1, length.steps_in(epoch) + 1):
            clock.passes(1.0 if made < 50 else 2.0)
            budget.after_step(epoch, into)
            made = length.made(epoch, into)
            seen.append((length.steps, round(length.place_of(made), 9)))
            if made >= length.steps:
                break
        clock.passes(5.0)
        budget.after_evaluation(epoch, into)
        if made >= length.steps:
            return seen
        length.end_epoch(epoch, into)
    raise AssertionError("the training does not end")


def steps_together(rank: int, store: str) -> list[tuple[int, float]]:
    """What `steps` gives in one of two processes that talk to each other."""
    with joined(rank, store):
        return steps(rank)


def tell_steps(rank: int, store: str) -> None:
    print(steps_together(rank, store))
