"""Reads samples in parallel and keeps a few numbers of each, no pixels."""

from __future__ import annotations

import hashlib
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import takewhile
from typing import NamedTuple, TypeVar

import cv2
import numpy as np
from tqdm import tqdm

from byoc_vision.data.decoding import read_content, read_image
from byoc_vision.data.samples import ImageSource, Sample
from byoc_vision.data.targets import read_mask_values, size_problem
from byoc_vision.errors import DataError
from byoc_vision.system.machine import available_cores

DIGEST_BYTES = 16
# Channel statistics come from so many rows and columns of an image. Pixels are picked, not averaged: averaging would
# narrow their spread.
PROBE_SIDE = 32


class Fault(NamedTuple):
    """A sample that cannot be used, and why."""

    sample: Sample
    problem: str


class MaskFacts(NamedTuple):
    """The values that occur in a mask, ascending, and the number of pixels of each."""

    values: tuple[int, ...]
    pixels: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """One sample that can be read.

    height, width: of the upright image. digest: BLAKE2b of the image file's bytes.
    mean, std: of each channel, float64 [3], 0–255.
    darkest, brightest: values over all channels, 0–255. is_two_tone: there are no others.
    """

    sample: Sample
    height: int
    width: int
    digest: bytes
    mean: np.ndarray
    std: np.ndarray
    darkest: int
    brightest: int
    is_two_tone: bool
    is_grey: bool
    mask: MaskFacts | None = None


def digest(data: bytes) -> bytes:
    """What tells the contents of two files apart: BLAKE2b, 16 bytes."""
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()


def examine(sample: Sample) -> Facts | Fault:
    """Read the image once: its bytes are hashed and decoded. Then its mask, where it has one."""
    try:
        content = read_content(sample.image)
        image = read_image(content)
        mask = None if sample.mask is None else read_mask_values(sample)
    except DataError as error:
        return Fault(sample, str(error))
    height, width = image.shape[:2]
    if mask is not None and mask.shape != (height, width):
        return Fault(sample, size_problem(sample, (height, width), mask.shape))
    probe = cv2.resize(image, (PROBE_SIDE, PROBE_SIDE), interpolation=cv2.INTER_NEAREST)
    mean, std = cv2.meanStdDev(probe)
    darkest, brightest, _, _ = cv2.minMaxLoc(probe.reshape(PROBE_SIDE, -1))
    return Facts(
        sample,
        height,
        width,
        digest(content.data),
        mean.ravel(),
        std.ravel(),
        int(darkest),
        int(brightest),
        bool(((probe == darkest) | (probe == brightest)).all()),
        _is_grey(probe, mean),
        None if mask is None else _mask_facts(mask),
    )


def _is_grey(image: np.ndarray, mean: np.ndarray) -> bool:
    if not mean[0] == mean[1] == mean[2]:  # spares most images the comparison
        return False
    return bool((image == image[:, :, :1]).all())


def _mask_facts(mask: np.ndarray) -> MaskFacts:
    # Most masks hold two values at the most: two comparisons count them in a fraction of a histogram's time.
    extremes = sorted({int(value) for value in cv2.minMaxLoc(mask)[:2]})
    counts = [cv2.countNonZero(cv2.inRange(mask, value, value)) for value in extremes]
    if sum(counts) == mask.size:
        return MaskFacts(tuple(extremes), tuple(counts))
    histogram = cv2.calcHist([mask], [0], None, [256], [0, 256]).ravel().astype(np.int64)
    values = np.flatnonzero(histogram)
    return MaskFacts(tuple(values.tolist()), tuple(histogram[values].tolist()))


Item = TypeVar("Item")
Result = TypeVar("Result")


class MaskValues:
    """Which values each mask holds. Masks are many and sets of values few, so the sets are shared."""

    def __init__(self) -> None:
        self._masks: dict[str, list[tuple[ImageSource, tuple[int, ...]]]] = {}
        self._sets: dict[tuple[int, ...], tuple[int, ...]] = {}

    def add(self, split: str, mask: ImageSource, values: tuple[int, ...]) -> None:
        self._masks.setdefault(split, []).append((mask, self._sets.setdefault(values, values)))

    def of(self, *splits: str) -> list[int]:
        """All values of these splits, or of all, sorted."""
        return sorted({value for _, values in self.masks(*splits) for value in values})

    def masks(self, *splits: str) -> list[tuple[ImageSource, tuple[int, ...]]]:
        return [entry for split in (splits or self._masks) for entry in self._masks.get(split, [])]

    @property
    def combinations(self) -> list[tuple[int, ...]]:
        """The different sets of values that occur."""
        return list(self._sets)


@dataclass
class Survey:
    """What was seen, by split and in the order of the samples: those that can be used, and the others."""

    facts: dict[str, list[Facts]] = field(default_factory=dict)
    faults: dict[str, list[Fault]] = field(default_factory=dict)

    @property
    def all_facts(self) -> list[Facts]:
        return [facts for split in self.facts.values() for facts in split]

    @property
    def all_faults(self) -> list[Fault]:
        return [fault for split in self.faults.values() for fault in split]

    def checked(self, split: str) -> int:
        return len(self.facts[split]) + len(self.faults[split])

    def mask_values(self) -> MaskValues:
        values = MaskValues()
        for split, seen in self.facts.items():
            for facts in seen:
                if facts.mask is not None and facts.sample.mask is not None:
                    values.add(split, facts.sample.mask, facts.mask.values)
        return values

    def mark_invalid(self, problems: Mapping[ImageSource | None, str]) -> None:
        """Count the samples of these masks among the faults."""
        if not problems:
            return
        for split, seen in self.facts.items():
            bad = [Fault(facts.sample, problems[facts.sample.mask]) for facts in seen if facts.sample.mask in problems]
            self.faults[split] += bad
            self.facts[split] = [facts for facts in seen if facts.sample.mask not in problems]


def survey(splits: Mapping[str, Sequence[Sample]], workers: int | None = None, *, seconds: float = math.inf) -> Survey:
    """Read all these samples, in as many threads as told (decoders let go of the interpreter's lock).

    seconds: after which no further ones are begun.
    """
    seen = Survey()
    deadline = time.monotonic() + seconds
    total = sum(len(samples) for samples in splits.values())
    threads = workers or available_cores()
    with (
        ThreadPoolExecutor(threads, thread_name_prefix="preflight") as pool,
        tqdm(total=total, desc="checking images", unit="", disable=None, leave=False) as progress,
    ):
        for split, samples in splits.items():
            in_time = takewhile(lambda _: time.monotonic() < deadline, samples)
            facts, faults = seen.facts.setdefault(split, []), seen.faults.setdefault(split, [])
            for outcome in _in_order(pool, examine, in_time, ahead=4 * threads):
                if isinstance(outcome, Fault):
                    faults.append(outcome)
                else:
                    facts.append(outcome)
                progress.update()
    return seen


def joined(parts: Sequence[Survey], splits: Mapping[str, Sequence[Sample]]) -> Survey:
    """Parts of the samples of these splits, read apart, as if they had been read in one go."""
    whole = Survey()
    for split, samples in splits.items():
        place = {sample: index for index, sample in enumerate(samples)}
        facts = [one for part in parts for one in part.facts.get(split, [])]
        faults = [one for part in parts for one in part.faults.get(split, [])]
        whole.facts[split] = sorted(facts, key=lambda one: place[one.sample])
        whole.faults[split] = sorted(faults, key=lambda one: place[one.sample])
    return whole


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """Like `pool.map`, with no more than `ahead` items under way."""
    pending: deque[Future[Result]] = deque()
    for item in items:
        pending.append(pool.submit(work, item))
        if len(pending) >= ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()
