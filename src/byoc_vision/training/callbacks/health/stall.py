"""Notices that a training makes no steps any more, from a thread of its own."""

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
    """Calls `tell` while nothing was heard for longer than `seconds`. Start it with `with`; `beat` is free."""

    def __init__(self, seconds: float, tell: Callable[[Silence], None]) -> None:
        self._seconds = seconds
        self._tell = tell
        self._heard_at = time.monotonic()
        self._ended = threading.Event()
        self._watched = threading.current_thread()

    def beat(self) -> None:
        self._heard_at = time.monotonic()

    def __enter__(self) -> StallWatch:
        self.beat()
        threading.Thread(target=self._watch, name="stall-watch", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(self._seconds / _LOOKS):
            silent = time.monotonic() - self._heard_at
            if silent >= self._seconds:
                self._tell(Silence(silent, standing(self._watched)))


def standing(thread: threading.Thread) -> str:
    """The line that a thread is at, and the line of ours that called for it."""
    frame = sys._current_frames().get(thread.ident or 0)
    if frame is None:
        return "a thread that has ended"
    lines = list(traceback.walk_stack(frame))  # the innermost first
    ours = next((one for one in lines if PACKAGE in Path(one[0].f_code.co_filename).parents), None)
    innermost = _described(*lines[0])
    return innermost if ours is None or ours == lines[0] else f"{innermost}, called from {_described(*ours)}"


def _described(frame: object, line: int) -> str:
    code = frame.f_code  # type: ignore[attr-defined]
    path = Path(code.co_filename)
    shown = path.relative_to(PACKAGE) if PACKAGE in path.parents else path.name
    return f"{shown}:{line} ({code.co_name})"
