"""A process's steps up to a request to stop: run by a test in two processes."""

from __future__ import annotations

import torch
from support.gloo import joined

from byoc_vision.launch.distributed import StopSync, World

ASKED_AT = 25  # the second process alone is asked to stop, in this step


class Clock:
    """A tenth of a second a step."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def steps(rank: int) -> tuple[int, list[int]]:
    """The step that the process left in, and those in which it was to write a checkpoint."""
    clock = Clock()
    stop_sync = StopSync(World(rank, rank, 2), torch.device("cpu"), clock)
    checkpoints = []
    for step in range(1, 1000):
        clock.now += 0.1
        stop, save = stop_sync(stop=rank == 1 and step >= ASKED_AT, due=rank == 0)
        if save:
            checkpoints.append(step)
        if stop:
            return step, checkpoints
    raise AssertionError("the request was not heard")


def steps_together(rank: int, store: str) -> tuple[int, list[int]]:
    """What `steps` gives in one of two processes that talk to each other."""
    with joined(rank, store):
        return steps(rank)


def tell_steps(rank: int, store: str) -> None:
    print(steps_together(rank, store))
