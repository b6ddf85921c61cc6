"""A process that tells how long ago it was started: run by a test as another process."""

from __future__ import annotations

import time

from byoc_vision.launch.job_time import seconds_since_start

PAUSE = 0.3  # seconds before it looks


def tell_seconds() -> None:
    time.sleep(PAUSE)
    print(seconds_since_start())
