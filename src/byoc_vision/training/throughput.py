"""How fast an epoch's training was, and for what share of it the device had nothing to do but wait for pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch

from byoc_vision.training.distribution import World, sum_over_processes
from byoc_vision.training.timeline import Batch, Timeline

WARNED_SHARE = 0.1
_WARNED_SECONDS = 1.0  # less is how every epoch begins
_FIRST_WARNED_EPOCH = 2  # in the first the cache is filled and the processes start


@dataclass(frozen=True)
class Throughput:
    """Of all processes together. data_wait: the share of the time, 0–1. waited: seconds, the mean of the processes."""

    images_per_second: float = 0.0
    data_wait: float = 0.0
    waited: float = 0.0

    def deserves_warning(self, epoch: int) -> bool:
        return epoch >= _FIRST_WARNED_EPOCH and self.data_wait > WARNED_SHARE and self.waited >= _WARNED_SECONDS


class Meter:
    """Measures one epoch: wrap its batches in `watch`."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._waited_before = timeline.total.data_wait
        self._pictures = 0
        self._started = timeline.clock()

    def watch(self, batches: Iterable[Batch], epoch: int = 1, done: int = 0) -> Iterator[Batch]:
        """The batches of an epoch of which `done` steps are made already.

        What is done with one until the next is asked for counts as its step.
        """
        self._started = self._timeline.clock()
        for batch in self._timeline.watch(batches, epoch, done):
            self._pictures += len(batch[0])
            yield batch

    def throughput(self, world: World) -> Throughput:
        """Of the time until now: call it when the epoch is over, in all processes. Waits for the device."""
        timeline = self._timeline
        timeline.settle()
        waited = timeline.total.data_wait - self._waited_before
        mine = [waited, timeline.clock() - self._started, self._pictures]
        total = sum_over_processes(torch.tensor(mine, dtype=torch.float64, device=timeline.device), world)
        waited, seconds, pictures = total.tolist()
        if not seconds:
            return Throughput()
        return Throughput(
            images_per_second=pictures / seconds * world.size,
            data_wait=min(1.0, waited / seconds),
            waited=waited / world.size,
        )
