"""Asking again where an error is said to pass: a model that is being loaded, too many requests at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from byoc_vision.client.errors import PredictionError

ATTEMPTS = 4
_FIRST_PAUSE = 0.5  # seconds; each further one is twice as long
_LONGEST_PAUSE = 20.0

Answered = TypeVar("Answered")


def ask_patiently(ask: Callable[[], Answered]) -> Answered:
    """What `ask` returns, in at most four attempts with the pauses that the server asks for, else growing ones.

    Raises PredictionError: the last attempt's, or the first that does not pass.
    """
    for attempt in range(1, ATTEMPTS):
        try:
            return ask()
        except PredictionError as error:
            if not error.temporary:
                raise
            pause = _FIRST_PAUSE * 2 ** (attempt - 1) if error.retry_after is None else error.retry_after
            time.sleep(min(pause, _LONGEST_PAUSE))
    return ask()
