"""How fast an epoch's training was, and for what share of it the device had nothing to do but wait for images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch

from byoc_vision.training.distributed import World, sum_over_processes
from byoc_vision.training.callbacks.step_timer import Batch, Timeline


@dataclass(frozen=True)
class Throughput:
    """Of all processes together. data_wait: the share of the time, 0–1. waited: seconds, the mean of the processes.

    own_wait: this process's share alone.
    """

    images_per_second: float = 0.0
    data_wait: float = 0.0
    waited: float = 0.0
    own_wait: float = 0.0


class Meter:
    """Measures one epoch: wrap its batches in `watch`."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._waited_before = timeline.total.data_wait
        self._images = 0
        self._started = timeline.clock()

    def watch(self, batches: Iterable[Batch], epoch: int = 1, done: int = 0) -> Iterator[Batch]:
        """The batches of an epoch of which `done` steps are made already.

        What is done with one until the next is asked for counts as its step.
        """
        self._started = self._timeline.clock()
        for batch in self._timeline.watch(batches, epoch, done):
            self._images += len(batch[0])
            yield batch

    def throughput(self, world: World) -> Throughput:
        """Of the time until now: call it when the epoch is over, in all processes. Waits for the device."""
        timeline = self._timeline
        timeline.settle()
        waited = timeline.total.data_wait - self._waited_before
        mine = [waited, timeline.clock() - self._started, self._images]
        own_wait = min(1.0, waited / mine[1]) if mine[1] else 0.0
        total = sum_over_processes(torch.tensor(mine, dtype=torch.float64, device=timeline.device), world)
        waited, seconds, images = total.tolist()
        if not seconds:
            return Throughput()
        return Throughput(
            images_per_second=images / seconds * world.size,
            data_wait=min(1.0, waited / seconds),
            waited=waited / world.size,
            own_wait=own_wait,
        )
