"""The fastest of several precisions, by measurement.

A processor's flags do not tell: with AVX512-BF16 and without AMX, bfloat16 takes half of float32's time on AMD's Zen 4
and nearly twice of it on some of Intel's.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import numpy as np

LEAST_GAIN = 0.1  # of float32's time: less is not worth another precision's rounding, and may be chance
LEAST_RUNS = 3
SECONDS_EACH = 0.4

logger = logging.getLogger(__name__)


class Timed(Protocol):
    """An engine whose precision has a name."""

    @property
    def precision(self) -> str: ...

    def run(self, images: np.ndarray) -> object: ...


AnyTimed = TypeVar("AnyTimed", bound=Timed)


def choose_fastest(
    engines: Sequence[AnyTimed], images: np.ndarray, clock: Callable[[], float] = time.perf_counter
) -> AnyTimed:
    """The first engine, which computes in float32, unless another takes at least a tenth less time for the images.

    A single engine is not measured. Several engines' times are logged.

    Args:
        engines: each has run as many images before, so that none still makes its kernels.
        images: uint8 [N, h, w, 3].
        clock: in seconds.
    """
    first, *others = engines
    if not others:
        return first
    times = shortest_times(engines, images, clock)
    fastest = min(range(len(engines)), key=times.__getitem__)
    chosen = engines[fastest] if times[fastest] <= (1 - LEAST_GAIN) * times[0] else first
    shown = [f"{engine.precision} {1000 * t / len(images):.1f} ms" for engine, t in zip(engines, times, strict=True)]
    logger.info("OpenVINO: %s per image; %s serves", ", ".join(shown), chosen.precision)
    return chosen


def shortest_times(
    engines: Sequence[Timed], images: np.ndarray, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """Each engine's shortest run, in seconds.

    They take turns and the shortest run counts, so that other work on the machine disturbs all engines alike or not at
    all. That includes the other workers of a server, which measure at about the same time; threads are not pinned.
    """
    times = [float("inf")] * len(engines)
    runs, spent = 0, 0.0
    while runs < LEAST_RUNS or spent < SECONDS_EACH * len(engines):
        for index, engine in enumerate(engines):
            started = clock()
            engine.run(images)
            seconds = clock() - started
            times[index] = min(times[index], seconds)
            spent += seconds
        runs += 1
    return times
