"""The memory that requests of this process may use at the same time.

A request claims what its image declares before the image is decoded. If that does not fit beside the claims of others,
it waits: many large images at once take longer, instead of more memory than the container has.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from functools import cache
from threading import TIMEOUT_MAX, Condition

from byoc_serve.memory import megabytes, trim_heap
from byoc_vision.errors import RequestError
from byoc_vision.system.memory import free_memory

LARGE = 2**25  # bytes: before such a claim free memory is measured; after a request with so many it is returned
SPARE = 2**27  # bytes of the free memory that requests do not get
BODY_SECONDS = 10.0  # that a body waits for room

_UNKNOWN = 2**62  # bytes: a system that does not say how much memory is free


class MemoryBudget:
    """Bytes that all requests together may claim.

    total: None measures it: the free memory of the container, once the model is loaded, by `processes` that share it.
    """

    def __init__(
        self, total: int | None = None, processes: int = 1, measure: Callable[[], int | None] = free_memory
    ) -> None:
        self._is_fixed = total is not None
        self._total = total
        self._processes = max(1, processes)
        self._measure = measure
        self._claimed = 0
        self._large = 0  # claims
        self._changed = Condition()
        self._waiting: deque[object] = deque()

    @property
    def claimed(self) -> int:
        return self._claimed

    def try_take(self, size: int) -> bool:
        """Claim `size` bytes for an image if they are free and no other one waits.

        Raises RequestError 413 if they would not fit alone.
        """
        with self._changed:
            total = self._measured(size)
            if self._waiting or self._claimed + size > total:
                return False
            self._add(size)
            return True

    def take(self, size: int, deadline: float) -> None:
        """Claim `size` bytes for an image, after those who wait already. deadline: in seconds of `time.monotonic`.

        Raises RequestError: 413 if they would not fit alone, 503 if they are not free until the deadline.
        """
        ticket = object()
        with self._changed:
            total = self._measured(size)
            self._waiting.append(ticket)
            try:
                self._wait(lambda: self._waiting[0] is ticket and self._claimed + size <= total, size, deadline)
                self._add(size)
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def take_for_body(self, size: int) -> None:
        """Claim `size` bytes for a part of a body. Bodies leave half of all for the images in them.

        Raises RequestError: 413 if they would not fit alone, 503 if they are not free soon.
        """
        with self._changed:
            total = self._measured(size)
            self._wait(lambda: self._claimed + size <= total // 2, size, time.monotonic() + BODY_SECONDS)
            self._add(size)

    def give_back(self, size: int) -> None:
        """End a claim of `size` bytes."""
        with self._changed:
            self._claimed -= size
            self._large -= size >= LARGE
            self._changed.notify_all()

    def add(self, size: int) -> None:
        """Claim `size` bytes that are in use already."""
        with self._changed:
            self._add(size)

    def _add(self, size: int) -> None:
        self._claimed += size
        self._large += size >= LARGE

    def _wait(self, is_free: Callable[[], bool], size: int, deadline: float) -> None:
        limit = min(deadline - time.monotonic(), TIMEOUT_MAX)
        if not self._changed.wait_for(is_free, max(0.0, limit)):
            raise RequestError(
                503, f"other requests use the memory that this one needs ({megabytes(size)}); try again soon"
            )

    def _measured(self, size: int) -> int:
        """All bytes, measured for a large claim while no other one uses an unknown part of what it claims."""
        if not self._is_fixed and (self._total is None or (size >= LARGE and not self._large)):
            free = self._measure()
            self._total = _UNKNOWN if free is None else max(0, free - SPARE) // self._processes + self._claimed
        assert self._total is not None
        if size > self._total:
            raise RequestError(
                413,
                f"the request needs about {megabytes(size)} of memory, and this server has "
                f"{megabytes(self._total)} for requests; send a smaller image, or use a larger instance",
            )
        return self._total


class Claim:
    """What one request holds of a budget, until `release`."""

    def __init__(self, budget: MemoryBudget | None = None) -> None:
        self._budget = budget or MemoryBudget(_UNKNOWN)
        self._sizes: Counter[int] = Counter()  # of the takes that were not given back
        self._taken = 0  # bytes, since the last release

    def try_take(self, size: int) -> bool:
        """As `MemoryBudget.try_take`."""
        taken = self._budget.try_take(size)
        if taken:
            self._note(size)
        return taken

    def take(self, size: int, deadline: float) -> None:
        """As `MemoryBudget.take`."""
        self._budget.take(size, deadline)
        self._note(size)

    def take_for_body(self, size: int) -> None:
        """As `MemoryBudget.take_for_body`."""
        self._budget.take_for_body(size)
        self._note(size)

    def give_back(self, size: int) -> None:
        """End one of the takes."""
        self._sizes[size] -= 1
        self._budget.give_back(size)

    def keep(self, size: int) -> None:
        """Claim `size` bytes that are in use already, whatever others have."""
        self._budget.add(size)
        self._note(size)

    def release(self) -> None:
        """End all takes, and return what they used to the system."""
        for size in list(self._sizes.elements()):
            self.give_back(size)
        if self._taken >= LARGE:
            self._taken = 0  # bytes, since the last release
            trim_heap()

    def _note(self, size: int) -> None:
        self._sizes[size] += 1
        self._taken += size


@cache
def shared_budget(megabytes: int, processes: int) -> MemoryBudget:
    """The budget that all models of this process share. megabytes: 0 measures it, as `MemoryBudget` does."""
    return MemoryBudget(megabytes * 2**20 or None, processes)
