"""Which steps are looked at: the first few, and then so few that it costs next to nothing."""

from __future__ import annotations

import math
import statistics
from collections import deque

FIRST = 3  # steps that are always looked at: rules ask for as many looks in a row
SHARE = 0.01  # of a step's time that looks may take, on average
LEAST, MOST = 20, 1000  # steps from one look to the next
_REMEMBERED = 20


class Pace:
    """Tell it of each step what it took and what its look took; it says whether the next one is looked at."""

    def __init__(self) -> None:
        self._steps = 0
        self._next = 1  # the number of the next step to be looked at
        self._seconds: deque[float] = deque(maxlen=_REMEMBERED)  # of steps, without their looks
        self._costs: deque[float] = deque(maxlen=FIRST)

    @property
    def is_first(self) -> bool:
        """Whether no step was told of yet."""
        return not self._steps

    @property
    def is_due(self) -> bool:
        """Whether the step under way is looked at."""
        return self._steps + 1 >= self._next

    def step_ended(self, seconds: float | None, look_seconds: float) -> None:
        """seconds: all of the step, where that is known. look_seconds: within it; 0 where it was not looked at."""
        looked = self.is_due
        if seconds is not None:
            self._seconds.append(max(0.0, seconds - look_seconds))
        if looked:
            self._costs.append(look_seconds)
        self._steps += 1
        if looked:
            self._next = self._steps + (1 if self._steps < FIRST else self.interval)

    @property
    def interval(self) -> int:
        """Steps from one look to the next."""
        usual = statistics.median(self._seconds) if self._seconds else 0.0
        if not usual or not self._costs:
            return LEAST
        return max(LEAST, min(MOST, math.ceil(min(self._costs) / (SHARE * usual))))
