"""Notices in a thread of its own that a training makes no more steps."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from byoc_vision.training.callbacks.health.facts import Silence

PACKAGE = Path(__file__).resolve().parents[3]
_LOOKS = 4  # at the clock, in the time that is allowed without a step


class StallWatch:
    """Calls `tell` while no `beat` came for longer than `seconds`. A beat costs nothing."""

    def __init__(
        self, seconds: float, tell: Callable[[Silence], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._tell = tell
        self._clock = clock
        self._beat_at = clock()
        self._ended = threading.Event()
        self._watched = threading.current_thread()

    def beat(self) -> None:
        self._beat_at = self._clock()

    def start(self) -> None:
        self.beat()
        threading.Thread(target=self._watch, name="stall-watch", daemon=True).start()

    def stop(self) -> None:
        self._ended.set()

    def look(self) -> None:
        """Look at the clock now."""
        silent = self._clock() - self._beat_at
        if silent >= self._seconds:
            self._tell(Silence(silent, standing(self._watched)))

    def _watch(self) -> None:
        while not self._ended.wait(self._seconds / _LOOKS):
            self.look()


def standing(thread: threading.Thread) -> str:
    """The line that a thread is at, and the line of this package that called it."""
    frame = sys._current_frames().get(thread.ident or 0)
    if frame is None:
        return "a thread that has ended"
    lines = list(traceback.walk_stack(frame))  # the innermost first
    own = next((one for one in lines if PACKAGE in Path(one[0].f_code.co_filename).parents), None)
    innermost = _described(*lines[0])
    return innermost if own is None or own == lines[0] else f"{innermost}, called from {_described(*own)}"


def _described(frame: object, line: int) -> str:
    code = frame.f_code  # type: ignore[attr-defined]
    path = Path(code.co_filename)
    shown = path.relative_to(PACKAGE) if PACKAGE in path.parents else path.name
    return f"{shown}:{line} ({code.co_name})"
