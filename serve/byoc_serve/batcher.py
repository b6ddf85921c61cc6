"""Requests that wait for the model at the same time go through it together.

Nobody waits for company: whatever has gathered while the model was busy is the next batch. So a lone
request is answered at once, and batches grow with the load. Decode → batch → predict → unbatch → encode,
as in LitServe's loops, but a bad item fails alone.

Why `wait` is 0 by default: with clients that ask again as soon as they are answered, batches come to half
of them by themselves. Waiting 2 … 5 ms for those in decoding moved the throughput by -18 … +14 % over models
of 1 … 10 ms a batch and 0.5 … 20 ms an image and 1 … 32 clients, and mostly by less than 2 %: the time in
which the model stands idle costs what the larger batch saves.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from threading import Condition, RLock
from typing import Generic, Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

logger = logging.getLogger(__name__)


class QueueFullError(Exception):
    """As much as may wait is waiting."""


class QueueClosedError(Exception):
    """The server is stopping."""


class DeadlineError(Exception):
    """The item waited longer than its caller does."""


class UnwantedError(Exception):
    """Nobody waits for the item any more."""


class FatalError(Exception):
    """What computes can compute nothing more: neither this batch nor any other."""


class Observer(Protocol):
    """Who is told what happens. It is told under the queue's lock, and so must be quick."""

    def items_wait(self, items: int) -> None:
        """So many wait now."""

    def batch_starts(self, items: int) -> None:
        """So many go through the model together."""


class Answer(Future[Result]):
    """One item's result to come, and how it fared: seconds in the queue, and in company of how many it left it."""

    def __init__(self) -> None:
        super().__init__()
        self.queue_seconds: float | None = None
        self.batch_size: int | None = None


def _always() -> bool:
    return True


def _same(_: object) -> Hashable:
    return None


@dataclass(frozen=True, slots=True)
class _Entry(Generic[Item, Result]):
    item: Item
    deadline: float
    wanted: Callable[[], bool]
    since: float
    answer: Answer[Result] = field(default_factory=Answer)


class Batcher(Generic[Item, Result]):
    """A bounded queue between many threads that `submit` and the one that is in `run`.

    batch_size: the most items computed at once. capacity: the most items accepted and not yet answered.
    wait: seconds that a batch which is not full waits for those announced by `expecting`, counted from its oldest
    item's coming; where none is announced it waits for nobody.
    kind: only items of the same kind are computed together.
    """

    def __init__(
        self,
        batch_size: int,
        capacity: int,
        wait: float = 0.0,
        kind: Callable[[Item], Hashable] = _same,
        observer: Observer | None = None,
    ) -> None:
        self.batch_size = batch_size
        self.capacity = capacity
        self._wait = wait
        self._kind = kind
        self._observer = observer
        self._queue: deque[_Entry[Item, Result]] = deque()
        self._unanswered = 0
        self._expected = 0
        self._open = True
        self._failure: FatalError | None = None
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

    def expecting(self) -> AbstractContextManager[None]:
        """While an item is made ready that will be submitted soon."""
        return self._expect_one() if self._wait else nullcontext()

    def submit(
        self,
        items: Sequence[Item],
        deadline: float,
        patience: float = 0.0,
        wanted: Callable[[], bool] = _always,
    ) -> list[Answer[Result]]:
        """Queue all of the items, or none; their answers to come, in order.

        deadline: in seconds of `time.monotonic`; an item still waiting then is never computed. A cancelled
        answer's item is skipped likewise, and one that is no longer `wanted` when its turn comes.
        patience, and raises: as `wait_for_room`.
        """
        now = time.monotonic()
        entries: list[_Entry[Item, Result]] = [_Entry(item, deadline, wanted, now) for item in items]
        with self._changed:
            self.wait_for_room(len(entries), patience)
            self._unanswered += len(entries)
            self._queue.extend(entries)
            self._tell_waiting()
            self._changed.notify()
        return [entry.answer for entry in entries]

    def run(self, compute: Callable[[list[Item]], Sequence[Result]]) -> None:
        """Answer what is submitted, in the calling thread, until `stop`; then what was accepted before it.

        compute: takes 1 … batch_size items of one kind, gives as many results in their order. Where it raises for
        several items, each half is tried alone, and its halves, so that only the ones at fault fail, and that a
        batch too large for the memory is computed in smaller ones.
        Raises FatalError where `compute` does, or `fail` is called; whatever waits fails with it.
        """
        for batch in self._batches():
            try:
                self._compute(batch, compute)
            except FatalError as error:
                for entry in batch:
                    if not entry.answer.done():
                        self._fail(entry, error)
                self.fail(error)

    def stop(self) -> None:
        """Accept no more. `run` returns when all that was accepted is answered."""
        with self._changed:
            self._open = False
            self._changed.notify_all()
            self._room.notify_all()

    def fail(self, error: FatalError) -> None:
        """Accept no more, and compute no more: what waits fails with `error`, which `run` raises."""
        with self._changed:
            self._failure = self._failure or error
            self.stop()

    @contextmanager
    def _expect_one(self) -> Iterator[None]:
        with self._changed:
            self._expected += 1
        try:
            yield
        finally:
            with self._changed:
                self._expected -= 1
                self._changed.notify()

    def _batches(self) -> Iterator[list[_Entry[Item, Result]]]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or not self._open)
                self._wait_for_company()
                if self._failure is not None:
                    self._fail_queue(self._failure)
                    raise self._failure
                batch = self._take()
                if not batch and not self._queue and not self._open:
                    return
            if batch:
                yield batch

    def _wait_for_company(self) -> None:
        if not self._wait or not self._queue:
            return
        latest = self._queue[0].since + self._wait
        self._changed.wait_for(
            lambda: not self._expected or len(self._queue) >= self.batch_size or not self._open,
            timeout=latest - time.monotonic(),
        )

    def _take(self) -> list[_Entry[Item, Result]]:
        """The oldest entry that someone still waits for, and the next of its kind; the others keep their places."""
        batch: list[_Entry[Item, Result]] = []
        passed: list[_Entry[Item, Result]] = []
        now = time.monotonic()
        while self._queue and len(batch) < self.batch_size:
            entry = self._queue.popleft()
            if batch and self._kind(entry.item) != self._kind(batch[0].item):
                passed.append(entry)
            elif self._starts(entry, now):
                batch.append(entry)
        self._queue.extendleft(reversed(passed))
        for entry in batch:
            entry.answer.batch_size = len(batch)
        self._tell_waiting()
        if batch and self._observer is not None:
            self._observer.batch_starts(len(batch))
        return batch

    def _starts(self, entry: _Entry[Item, Result], now: float) -> bool:
        """Whether someone still waits for it; where not, that is settled."""
        entry.answer.queue_seconds = now - entry.since
        if not entry.answer.set_running_or_notify_cancel():
            self._give_back(1)
        elif entry.deadline < now:
            self._fail(entry, DeadlineError())
        elif not entry.wanted():
            self._fail(entry, UnwantedError())
        else:
            return True
        return False

    def _compute(self, batch: list[_Entry[Item, Result]], compute: Callable[[list[Item]], Sequence[Result]]) -> None:
        error = self._try(batch, compute)
        if error is None:
            return
        if len(batch) == 1:
            self._fail(batch[0], error)
            return
        logger.warning("a batch of %d failed (%s); trying its halves", len(batch), str(error))
        # Its traceback holds the frames that failed, and they hold their memory, which the halves may need.
        del error
        half = len(batch) // 2
        self._compute(batch[:half], compute)
        self._compute(batch[half:], compute)

    def _try(
        self, batch: list[_Entry[Item, Result]], compute: Callable[[list[Item]], Sequence[Result]]
    ) -> Exception | None:
        """Give the entries their answers, or say why there are none."""
        try:
            results = compute([entry.item for entry in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"{len(batch)} images went into the model and {len(results)} answers came out")
        except FatalError:
            raise
        except Exception as error:  # whatever it is belongs to those who wait for the answers
            return error
        self._give_back(len(batch))  # room first: who gets an answer may submit again at once
        for entry, result in zip(batch, results, strict=True):
            entry.answer.set_result(result)
        return None

    def _fail_queue(self, error: Exception) -> None:
        while self._queue:
            entry = self._queue.popleft()
            if entry.answer.set_running_or_notify_cancel():
                self._fail(entry, error)
            else:
                self._give_back(1)
        self._tell_waiting()

    def _fail(self, entry: _Entry[Item, Result], error: Exception) -> None:
        self._give_back(1)
        entry.answer.set_exception(error)

    def _give_back(self, items: int) -> None:
        with self._room:
            self._unanswered -= items
            self._room.notify(items)

    def _tell_waiting(self) -> None:
        if self._observer is not None:
            self._observer.items_wait(len(self._queue))
