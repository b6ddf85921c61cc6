"""How torch's threads on the CPU wait for each other."""

from __future__ import annotations

import os

SPINS = "1000"  # some 50 µs, a few times what a sleeping thread takes to wake


def sleep_between_regions() -> None:
    """Have OpenMP's threads go to sleep early. torch reads this when it is imported, so call it before.

    By default they spin for milliseconds after each parallel region, waiting for the next. Those are the cores that
    images are decoded on, and where a share of cores is granted (`docker run --cpus`) it is used up by spinning.
    What the user set himself stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
