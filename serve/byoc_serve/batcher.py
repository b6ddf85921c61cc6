"""Requests that wait for the model at the same time go through it together.

Nobody waits for company: whatever has gathered while the model was busy is the next batch. So a lone
request is answered at once, and batches grow with the load. Decode → batch → predict → unbatch → encode,
as in LitServe's loops, but a bad item fails alone.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Condition, RLock
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

log = logging.getLogger(__name__)


class QueueFullError(Exception):
    """As much as may wait is waiting."""


class QueueClosedError(Exception):
    """The server is stopping."""


class DeadlineError(Exception):
    """The item waited longer than its caller does."""


@dataclass(frozen=True)
class _Entry(Generic[Item, Result]):
    item: Item
    deadline: float
    answer: Future[Result] = field(default_factory=Future)


class Batcher(Generic[Item, Result]):
    """A bounded queue between many threads that `submit` and the one that is in `run`.

    batch_size: the most items computed at once. capacity: the most items accepted and not yet answered.
    """

    def __init__(self, batch_size: int, capacity: int) -> None:
        self.batch_size = batch_size
        self.capacity = capacity
        self._queue: deque[_Entry[Item, Result]] = deque()
        self._unanswered = 0
        self._open = True
        lock = RLock()
        self._changed = Condition(lock)  # what the model waits for: something to do, or the end
        self._room = Condition(lock)  # what callers wait for

    @property
    def unanswered(self) -> int:
        """Items accepted and not yet answered."""
        return self._unanswered

    def wait_for_room(self, items: int = 1, patience: float = 0.0) -> None:
        """Return once there is room for so many items.

        patience: seconds to wait for it.
        Raises QueueFullError where there is none by then, QueueClosedError.
        """
        with self._room:
            found = self._room.wait_for(
                lambda: not self._open or self._unanswered + items <= self.capacity, timeout=patience
            )
            if not self._open:
                raise QueueClosedError
            if not found:
                raise QueueFullError

    def submit(self, items: Sequence[Item], deadline: float, patience: float = 0.0) -> list[Future[Result]]:
        """Queue all of the items, or none; their answers to come, in order.

        deadline: in seconds of `time.monotonic`; an item still waiting then is never computed. A cancelled
        answer's item is skipped likewise.
        patience, and raises: as `wait_for_room`.
        """
        entries: list[_Entry[Item, Result]] = [_Entry(item, deadline) for item in items]
        with self._changed:
            self.wait_for_room(len(entries), patience)
            self._unanswered += len(entries)
            self._queue.extend(entries)
            self._changed.notify()
        return [entry.answer for entry in entries]

    def run(self, compute: Callable[[list[Item]], Sequence[Result]]) -> None:
        """Answer what is submitted, in the calling thread, until `stop`; then what was accepted before it.

        compute: takes 1 … batch_size items, gives as many results in their order. Where it raises for
        several items, each is tried alone, so that only the ones at fault fail.
        """
        for batch in self._batches():
            self._compute(batch, compute)

    def stop(self) -> None:
        """Accept no more. `run` returns when all that was accepted is answered."""
        with self._changed:
            self._open = False
            self._changed.notify_all()
            self._room.notify_all()

    def _batches(self) -> Iterator[list[_Entry[Item, Result]]]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or not self._open)
                batch = self._take()
                if not batch and not self._queue and not self._open:
                    return
            if batch:
                yield batch

    def _take(self) -> list[_Entry[Item, Result]]:
        """The next entries that someone still waits for, from the queue."""
        batch: list[_Entry[Item, Result]] = []
        now = time.monotonic()
        while self._queue and len(batch) < self.batch_size:
            entry = self._queue.popleft()
            if not entry.answer.set_running_or_notify_cancel():
                self._give_back(1)
            elif entry.deadline < now:
                self._fail(entry, DeadlineError())
            else:
                batch.append(entry)
        return batch

    def _compute(self, batch: list[_Entry[Item, Result]], compute: Callable[[list[Item]], Sequence[Result]]) -> None:
        try:
            results = compute([entry.item for entry in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"{len(batch)} pictures went into the model and {len(results)} answers came out")
        except Exception as error:  # whatever it is belongs to those who wait for the answers
            if len(batch) == 1:
                self._fail(batch[0], error)
                return
            log.warning("a batch of %d failed (%s); trying its pictures one by one", len(batch), error)
            for entry in batch:
                self._compute([entry], compute)
            return
        self._give_back(len(batch))  # room first: who gets an answer may submit again at once
        for entry, result in zip(batch, results, strict=True):
            entry.answer.set_result(result)

    def _fail(self, entry: _Entry[Item, Result], error: Exception) -> None:
        self._give_back(1)
        entry.answer.set_exception(error)

    def _give_back(self, items: int) -> None:
        with self._room:
            self._unanswered -= items
            self._room.notify(items)
