"""The samples of all splits, read in parallel."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TypeVar

from tqdm import tqdm

from byoc_vision.data.preflight.mask_values import MaskValues
from byoc_vision.data.preflight.sample_stats import Facts, Fault, examine
from byoc_vision.data.samples import ImageSource, Sample
from byoc_vision.system.machine import available_cores

Item = TypeVar("Item")
Result = TypeVar("Result")


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
