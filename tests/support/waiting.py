"""Waiting for what another process or thread does."""

from __future__ import annotations

import time
from collections.abc import Callable

LIMIT = 100  # seconds after which a test gives up; far more than any wait takes
PAUSE = 0.05  # seconds between two looks


def wait_until(
    condition: Callable[[], object],
    explain: Callable[[], object] = lambda: "it did not happen",
    running: Callable[[], bool] = lambda: True,
    limit: float = LIMIT,
) -> None:
    """Returns when the condition holds.

    Args:
        condition: looked at again and again.
        explain: what the failure says, a log for instance.
        running: whether what is waited for can still happen.
        limit: seconds after which the test gives up.

    Raises:
        AssertionError: it can no longer happen, or the limit has passed.
    """
    end = time.monotonic() + limit
    while True:
        can_happen = running() and time.monotonic() < end
        if condition():
            return
        assert can_happen, explain()
        time.sleep(PAUSE)
