"""Files of the same content, byte for byte."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, combinations
from typing import NamedTuple

from byoc_vision.data.decoding import read_content
from byoc_vision.data.preflight.report import Duplicates
from byoc_vision.data.preflight.scan import Facts, Survey, digest
from byoc_vision.data.preflight.subsample import Sizes
from byoc_vision.data.samples import Sample
from byoc_vision.errors import DataError
from byoc_vision.system.machine import available_cores

# A tenth of a second: a core reads and hashes half a gigabyte in a second.
BYTES_PER_CORE = 50_000_000


class Hashed(NamedTuple):
    """A sample whose image file was hashed, and not decoded."""

    sample: Sample
    digest: bytes


class Lookalikes(NamedTuple):
    """Samples that were not read, and whose image file is as large as another: those that were hashed, by split, and
    how many were not.
    """

    hashed: dict[str, list[Hashed]]
    left: int


class _Candidate(NamedTuple):
    split: str
    sample: Sample
    size: int


def hash_lookalikes(
    splits: Mapping[str, Sequence[Sample]],
    sizes: Mapping[str, Sequence[Sizes]],
    seen: Survey,
    budget: int | None = None,
) -> Lookalikes:
    """Hash those of the samples not read that may be copies: only files of one size can hold the same bytes.

    budget: bytes to read; by default what a job's cores hash in a tenth of a second. Where there are more, those that
    may lie in two splits come first.
    """
    candidates = _candidates(splits, sizes, seen)
    budget = BYTES_PER_CORE * available_cores() if budget is None else budget
    total = accumulate(candidate.size for candidate in candidates)
    chosen = [candidate for candidate, so_far in zip(candidates, total, strict=True) if so_far <= budget]
    hashed: dict[str, list[Hashed]] = {split: [] for split in splits}
    with ThreadPoolExecutor(available_cores(), thread_name_prefix="hashing") as pool:
        for candidate, found in zip(chosen, pool.map(_hash, chosen), strict=True):
            if found is not None:  # whoever decodes it will say why it cannot be read
                hashed[candidate.split].append(Hashed(candidate.sample, found))
    return Lookalikes(hashed, len(candidates) - len(chosen))


def find_duplicates(facts: Mapping[str, Sequence[Facts | Hashed]]) -> Duplicates:
    """Images that occur again, by split: within one, in two of them, and under two classes."""
    within = 0
    across: list[tuple[str, str]] = []
    contradicting: list[tuple[str, str]] = []
    for group in _groups(facts):
        first: dict[str, Sample] = {}
        for split, sample in group:
            within += split in first
            first.setdefault(split, sample)
        across += [(str(one.image), str(other.image)) for one, other in combinations(first.values(), 2)]
        targets: dict[Hashable, Sample] = {}
        for _, sample in group:
            targets.setdefault(sample.label if sample.labels is None else sample.labels, sample)
        if len(targets) > 1:
            one, other, *_ = targets.values()
            contradicting.append((str(one.image), str(other.image)))
    return Duplicates(within, across, contradicting)


def _candidates(
    splits: Mapping[str, Sequence[Sample]], sizes: Mapping[str, Sequence[Sizes]], seen: Survey
) -> list[_Candidate]:
    """Samples that were not read and are as large as another: those of sizes that occur in two splits first."""
    read = {facts.sample for facts in seen.all_facts} | {fault.sample for fault in seen.all_faults}
    if len(read) == sum(map(len, splits.values())):
        return []
    by_size: defaultdict[int, list[_Candidate]] = defaultdict(list)
    for split, samples in splits.items():
        for sample, size in zip(samples, sizes[split], strict=True):
            by_size[size.image].append(_Candidate(split, sample, size.image))
    groups = [group for size, group in by_size.items() if size and len(group) > 1]
    groups.sort(key=lambda group: len({candidate.split for candidate in group}) == 1)
    return [candidate for group in groups for candidate in group if candidate.sample not in read]


def _hash(candidate: _Candidate) -> bytes | None:
    try:
        return digest(read_content(candidate.sample.image).data)
    except DataError:
        return None


def _groups(facts: Mapping[str, Sequence[Facts | Hashed]]) -> Iterator[list[tuple[str, Sample]]]:
    """Split and sample of all files of one content, where there are several."""
    first: dict[bytes, tuple[str, Sample]] = {}
    groups: defaultdict[bytes, list[tuple[str, Sample]]] = defaultdict(list)
    for split, seen in facts.items():
        for one in seen:
            entry = (split, one.sample)
            if one.digest in first:
                groups[one.digest].append(entry)
            first.setdefault(one.digest, entry)
    for group_digest, others in groups.items():
        yield [first[group_digest], *others]
