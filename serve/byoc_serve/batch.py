"""Requests that wait for the model at the same time go through it together.

Whatever has gathered while the model was busy is the next batch: a lone request is computed at once, and batches grow
with the load. As in LitServe's loops, but a bad item fails alone.

Why `wait` is 0 by default: clients that send the next request after each response fall into step and fill half of the
batches anyway. Waiting 2 … 5 ms for images in decoding changed the throughput by -18 … +14 % over models of 1 … 10 ms a
batch, images of 0.5 … 20 ms and 1 … 32 clients, and mostly by less than 2 %: the time in which the model is idle costs
what the larger batch saves.
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

# Seconds that a request waits for room in the queue: room may come soon, and clients that retry at once would keep the
# server busy with refusals.
QUEUE_TIMEOUT = 0.1

logger = logging.getLogger(__name__)


class QueueFullError(Exception):
    """As many items are queued as the capacity allows."""


class QueueClosedError(Exception):
    """The server is stopping."""


class DeadlineError(Exception):
    """The item's deadline passed before it was computed."""


class ClientGoneError(Exception):
    """The item's client has closed its connection."""


class FatalError(Exception):
    """The model can compute nothing more: neither this batch nor any other."""


class Observer(Protocol):
    """Is called when the queue changes, under its lock: methods must be quick."""

    def items_wait(self, items: int) -> None:
        """The number of items that wait now."""

    def batch_starts(self, items: int) -> None:
        """The number of items that go through the model together."""


class PendingResult(Future[Result]):
    """The future result of one item; its seconds in the queue and its batch's size, once it has left the queue."""

    def __init__(self) -> None:
        super().__init__()
        self.queue_seconds: float | None = None
        self.batch_size: int | None = None


@dataclass(frozen=True, slots=True)
class _Entry(Generic[Item, Result]):
    item: Item
    deadline: float
    is_connected: Callable[[], bool]
    since: float
    result: PendingResult[Result] = field(default_factory=PendingResult)


def in_halves(
    batch: list[Item], compute: Callable[[list[Item]], Sequence[Result]]
) -> Iterator[tuple[list[Item], Sequence[Result] | Exception]]:
    """A batch's results, in one part, or in several with an exception for each item at fault, which is then alone.

    If `compute` raises for several items, each half is tried alone, and its halves: so a batch too large for the memory
    is computed in smaller ones. Raises FatalError if `compute` does.
    """
    try:
        results = compute(batch)
        if len(results) != len(batch):
            raise RuntimeError(f"{len(batch)} images went into the model and {len(results)} results came out")
    except FatalError:
        raise
    except Exception as error:  # becomes the result of the item
        if len(batch) == 1:
            yield batch, error
            return
        logger.warning("a batch of %d failed (%s); trying its halves", len(batch), str(error))
    else:
        yield batch, results
        return
    # Not in the handler: there the error's traceback holds the frames that failed, and their memory, which halves need.
    half = len(batch) // 2
    yield from in_halves(batch[:half], compute)
    yield from in_halves(batch[half:], compute)


class Batcher(Generic[Item, Result]):
    """A bounded queue between many threads that `submit` and those that `run`, of which there is usually one.

    batch_size: the most items computed at once. capacity: the most items in flight: accepted and without a result.
    wait: seconds that a batch which is not full waits for items announced by `expecting`, counted from the arrival of
    its oldest item; if none is announced it does not wait.
    kind: only items of the same kind are computed together.
    """

    def __init__(
        self,
        batch_size: int,
        capacity: int,
        wait: float = 0.0,
        kind: Callable[[Item], Hashable] = lambda item: None,
        observer: Observer | None = None,
    ) -> None:
        self.batch_size = batch_size
        self.capacity = capacity
        self._wait = wait
        self._kind = kind
        self._observer = observer
        self._queue: deque[_Entry[Item, Result]] = deque()
        self._in_flight = 0
        self._expected = 0
        self._open = True
        self._failure: FatalError | None = None
        lock = RLock()
        self._changed = Condition(lock)  # `run` waits for it: an item, or the end
        self._room = Condition(lock)  # `submit` waits for it

    @property
    def in_flight(self) -> int:
        """Items accepted and without a result."""
        return self._in_flight

    def wait_for_room(self, queue_timeout: float = 0.0) -> None:
        """Return once there is room for an item.

        queue_timeout: seconds to wait for it.
        Raises QueueFullError if there is none by then, QueueClosedError.
        """
        with self._room:
            found = self._room.wait_for(
                lambda: not self._open or self._in_flight < self.capacity, timeout=queue_timeout
            )
            if not self._open:
                raise QueueClosedError
            if not found:
                raise QueueFullError

    def expecting(self) -> AbstractContextManager[None]:
        """Announces an item that will be submitted soon, for the time of the block."""
        return self._expect_one() if self._wait else nullcontext()

    def submit(
        self,
        item: Item,
        deadline: float,
        queue_timeout: float = 0.0,
        is_connected: Callable[[], bool] = lambda: True,
    ) -> PendingResult[Result]:
        """Queue an item; its future result.

        deadline: in seconds of `time.monotonic`; an item that still waits then is not computed, nor is one whose
        result was cancelled, or whose client is no longer connected when its turn comes.
        queue_timeout, and raises: as `wait_for_room`.
        """
        entry: _Entry[Item, Result] = _Entry(item, deadline, is_connected, time.monotonic())
        with self._changed:
            self.wait_for_room(queue_timeout)
            self._in_flight += 1
            self._queue.append(entry)
            self._report_waiting()
            self._changed.notify()
        return entry.result

    def run(self, compute: Callable[[list[Item]], Sequence[Result]], most: int | None = None) -> None:
        """Compute what is submitted, in the calling thread, until `stop`; then what was accepted before it.

        compute: takes 1 … `most` items of one kind and returns their results in order; called by `in_halves`.
        most: items that this thread takes at once; by default batch_size.
        Raises FatalError if `compute` does, or `fail` is called; items that wait fail with it.
        """
        for batch in self._batches(most or self.batch_size):
            try:
                self._compute(batch, compute)
            except FatalError as error:
                for entry in batch:
                    if not entry.result.done():
                        self._fail(entry, error)
                self.fail(error)

    def stop(self) -> None:
        """Accept no more. `run` returns when every accepted item has its result."""
        with self._changed:
            self._open = False
            self._changed.notify_all()
            self._room.notify_all()

    def fail(self, error: FatalError) -> None:
        """Accept no more, and compute no more: items that wait fail with `error`, which `run` raises."""
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

    def _batches(self, most: int) -> Iterator[list[_Entry[Item, Result]]]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or not self._open)
                self._wait_for_expected(most)
                if self._failure is not None:
                    self._fail_queue(self._failure)
                    raise self._failure
                batch = self._take(most)
                if not batch and not self._queue and not self._open:
                    return
            if batch:
                yield batch

    def _wait_for_expected(self, most: int) -> None:
        if not self._wait or not self._queue:
            return
        latest = self._queue[0].since + self._wait
        self._changed.wait_for(
            lambda: not self._expected or len(self._queue) >= most or not self._open,
            timeout=latest - time.monotonic(),
        )

    def _take(self, most: int) -> list[_Entry[Item, Result]]:
        """The oldest entry that is still to be computed, and the next of its kind; the others keep their places."""
        batch: list[_Entry[Item, Result]] = []
        passed: list[_Entry[Item, Result]] = []
        now = time.monotonic()
        while self._queue and len(batch) < most:
            entry = self._queue.popleft()
            if batch and self._kind(entry.item) != self._kind(batch[0].item):
                passed.append(entry)
            elif self._starts(entry, now):
                batch.append(entry)
        self._queue.extendleft(reversed(passed))
        for entry in batch:
            entry.result.batch_size = len(batch)
        self._report_waiting()
        if self._queue:
            self._changed.notify()  # another thread in `run`
        if batch and self._observer is not None:
            self._observer.batch_starts(len(batch))
        return batch

    def _starts(self, entry: _Entry[Item, Result], now: float) -> bool:
        """Whether the entry is to be computed; if not, its result is settled."""
        entry.result.queue_seconds = now - entry.since
        if not entry.result.set_running_or_notify_cancel():
            self._release(1)
        elif entry.deadline < now:
            self._fail(entry, DeadlineError())
        elif not entry.is_connected():
            self._fail(entry, ClientGoneError())
        else:
            return True
        return False

    def _compute(self, batch: list[_Entry[Item, Result]], compute: Callable[[list[Item]], Sequence[Result]]) -> None:
        """Set the entries' results. Raises FatalError."""
        for part, results in in_halves(batch, lambda entries: compute([entry.item for entry in entries])):
            if isinstance(results, Exception):
                self._fail(part[0], results)
                continue
            self._release(len(part))  # room first: a client that gets its response may submit again at once
            for entry, result in zip(part, results, strict=True):
                entry.result.set_result(result)

    def _fail_queue(self, error: Exception) -> None:
        while self._queue:
            entry = self._queue.popleft()
            if entry.result.set_running_or_notify_cancel():
                self._fail(entry, error)
            else:
                self._release(1)
        self._report_waiting()

    def _fail(self, entry: _Entry[Item, Result], error: Exception) -> None:
        self._release(1)
        entry.result.set_exception(error)

    def _release(self, items: int) -> None:
        with self._room:
            self._in_flight -= items
            self._room.notify(items)

    def _report_waiting(self) -> None:
        if self._observer is not None:
            self._observer.items_wait(len(self._queue))
