"""How far long work is: a bar on a terminal, in a log a line now and then.

A line is `progress: WHAT name=value …`. Its names are none of those that SageMaker's metric definitions search for.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from tqdm import tqdm

FIRST_INTERVAL, INTERVAL = 30.0, 120.0  # seconds
FIRST_MINUTES = 10 * 60.0  # seconds in which the first interval holds

logger = logging.getLogger(__name__)


class Schedule:
    """When the next line is due: every 30 s in the first 10 minutes of this process's work, then every 2 minutes.

    clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._began: float | None = None
        self._last = 0.0

    def restart(self) -> None:
        """Count from now: other work begins, or another line said how far it is."""
        self._last = self.clock()
        if self._began is None:
            self._began = self._last

    def is_due(self) -> bool:
        """Whether the interval has passed; a new one begins then."""
        if self._began is None:
            self.restart()
            return False
        now = self.clock()
        if now - self._last < (FIRST_INTERVAL if now - self._began <= FIRST_MINUTES else INTERVAL):
            return False
        self._last = now
        return True


_SCHEDULE = Schedule()  # a process writes one log


def default_schedule() -> Schedule:
    """The schedule that all work of this process shares."""
    return _SCHEDULE


def has_bar() -> bool:
    """Whether bars are drawn: then a log needs no lines."""
    return sys.stderr.isatty()


class Progress:
    """Counts what is done of `total`, within `with`.

        progress: checking done=45.0% images=450/1000 images/s=120.3 left=0:00:05

    Args:
        what: the work, such as `checking`; a bar shows it too.
        total: how many there are; None if that is not known.
        unit: what they are, in the plural.
        initial: how many an earlier start did.
        enabled: False in all processes but the first.
        schedule: by default that of the process.
    """

    def __init__(
        self,
        what: str,
        total: int | None,
        *,
        unit: str = "images",
        initial: int = 0,
        enabled: bool = True,
        schedule: Schedule | None = None,
    ) -> None:
        self.what, self.total, self.unit, self.done = what, total, unit, initial
        self._initial, self._enabled = initial, enabled
        self._schedule = schedule or _SCHEDULE
        self._started = self._schedule.clock()
        self._note = ""
        hidden = not enabled or not has_bar()
        scaled = unit == "bytes"
        self._bar = tqdm(
            total=total,
            initial=initial,
            desc=what,
            unit="B" if scaled else "",
            unit_scale=scaled,
            disable=hidden,
            leave=False,
        )

    def __enter__(self) -> Self:
        self._schedule.restart()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    @property
    def draws_bar(self) -> bool:
        return not self._bar.disable

    def update(self, count: int = 1, note: str | None = None) -> None:
        """So many more are done. note: `name=value …` at the end of the line."""
        self.done += count
        if note is not None:
            self._note = note
            self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(count)
        self.say_if_due()

    def say_if_due(self) -> None:
        """Log the line if its time has come."""
        if self._enabled and not self.draws_bar and self._schedule.is_due():
            logger.info(self.line())

    def line(self) -> str:
        seconds, made = self._schedule.clock() - self._started, self.done - self._initial
        rate = made / seconds if seconds > 0 else 0.0
        values = [] if not self.total else [f"done={self.done / self.total:.1%}"]
        values.append(f"{self.unit}={self.done}" + ("" if self.total is None else f"/{self.total}"))
        values.append(f"{self.unit}/s={rate:.4g}" if rate >= 1 or not rate else f"{self.unit}/minute={60 * rate:.4g}")
        if self.total is not None and rate:
            values.append(f"left={clock_time((self.total - self.done) / rate)}")
        return line(self.what, *values, self._note)


@contextmanager
def alive(what: str, schedule: Schedule | None = None, *, look_every: float = 1.0) -> Iterator[None]:
    """Work without parts that can be counted: a line says how long it has lasted.

        progress: exporting to onnx elapsed=0:01:30

    look_every: seconds between two looks at the clock.
    """
    schedule = schedule or _SCHEDULE
    schedule.restart()
    started, ended = schedule.clock(), threading.Event()

    def watch() -> None:
        while not ended.wait(look_every):
            if schedule.is_due():
                logger.info(line(what, f"elapsed={clock_time(schedule.clock() - started)}"))

    thread = threading.Thread(target=watch, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def line(what: str, *values: str) -> str:
    return " ".join(["progress:", what, *filter(None, values)])


def clock_time(seconds: float) -> str:
    """`1:02:03`: hours, minutes and seconds."""
    whole = max(0, round(seconds))
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
