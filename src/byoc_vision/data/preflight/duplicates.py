"""Images whose files have the same content, byte for byte."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, combinations
from typing import NamedTuple

from byoc_vision.data.decoding import read_content
from byoc_vision.data.preflight.report import Duplicates
from byoc_vision.data.preflight.scan import SampleStats, ScanResult, digest
from byoc_vision.data.preflight.subsample import Sizes
from byoc_vision.data.samples import Sample
from byoc_vision.errors import DataError
from byoc_vision.system.machine import available_cores

# About 0.1 s: a core reads and hashes 500 MB per second.
BYTES_PER_CORE = 50_000_000


class Hashed(NamedTuple):
    """A sample whose image file was hashed but not decoded."""

    sample: Sample
    digest: bytes


class SameSizeHashes(NamedTuple):
    """Samples that were not read and whose image file has the size of another one.

    hashed: those that were hashed, by split. skipped: the number of the others.
    """

    hashed: dict[str, list[Hashed]]
    skipped: int


class _Candidate(NamedTuple):
    split: str
    sample: Sample
    size: int


def hash_same_size(
    splits: Mapping[str, Sequence[Sample]],
    sizes: Mapping[str, Sequence[Sizes]],
    seen: ScanResult,
    budget: int | None = None,
) -> SameSizeHashes:
    """Hash those unread samples that may be duplicates: only files of the same size can hold the same bytes.

    budget: bytes to read; by default what the cores hash in 0.1 s. If there are more, those that may be in two splits
    come first.
    """
    candidates = _candidates(splits, sizes, seen)
    budget = BYTES_PER_CORE * available_cores() if budget is None else budget
    total = accumulate(candidate.size for candidate in candidates)
    chosen = [candidate for candidate, so_far in zip(candidates, total, strict=True) if so_far <= budget]
    hashed: dict[str, list[Hashed]] = {split: [] for split in splits}
    with ThreadPoolExecutor(available_cores(), thread_name_prefix="hashing") as pool:
        for candidate, found in zip(chosen, pool.map(_hash, chosen), strict=True):
            if found is not None:  # the error is reported when the image is decoded
                hashed[candidate.split].append(Hashed(candidate.sample, found))
    return SameSizeHashes(hashed, len(candidates) - len(chosen))


def find_duplicates(stats: Mapping[str, Sequence[SampleStats | Hashed]]) -> Duplicates:
    """Images that occur more than once: within a split, in two splits, and with different classes."""
    within = 0
    across: list[tuple[str, str]] = []
    contradicting: list[tuple[str, str]] = []
    for group in _groups(stats):
        first: dict[str, Sample] = {}
        for split, sample in group:
            within += split in first
            first.setdefault(split, sample)
        across += [(str(one.image), str(other.image)) for one, other in combinations(first.values(), 2)]
        targets: dict[tuple[int, ...], Sample] = {}
        for _, sample in group:
            targets.setdefault(sample.class_indices, sample)
        if len(targets) > 1:
            one, other, *_ = targets.values()
            contradicting.append((str(one.image), str(other.image)))
    return Duplicates(within, across, contradicting)


def _candidates(
    splits: Mapping[str, Sequence[Sample]], sizes: Mapping[str, Sequence[Sizes]], seen: ScanResult
) -> list[_Candidate]:
    """Unread samples with the file size of another sample; sizes that occur in two splits come first."""
    read = {stats.sample for stats in seen.all_stats} | {bad.sample for bad in seen.all_invalid}
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


def _groups(stats: Mapping[str, Sequence[SampleStats | Hashed]]) -> Iterator[list[tuple[str, Sample]]]:
    """Split and sample of the files that share their content, for each content that occurs more than once."""
    first: dict[bytes, tuple[str, Sample]] = {}
    groups: defaultdict[bytes, list[tuple[str, Sample]]] = defaultdict(list)
    for split, seen in stats.items():
        for one in seen:
            entry = (split, one.sample)
            if one.digest in first:
                groups[one.digest].append(entry)
            first.setdefault(one.digest, entry)
    for group_digest, others in groups.items():
        yield [first[group_digest], *others]
