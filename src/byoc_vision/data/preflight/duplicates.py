"""Files of the same content, byte for byte."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import combinations

from byoc_vision.data.preflight.facts import Facts
from byoc_vision.data.preflight_report import Duplicates
from byoc_vision.data.samples import Sample


def find_duplicates(facts: Mapping[str, Sequence[Facts]]) -> Duplicates:
    """Pictures that occur again, by split: within one, in two of them, and under two classes."""
    within = 0
    across: list[tuple[str, str]] = []
    contradicting: list[tuple[str, str]] = []
    for group in _groups(facts):
        first: dict[str, Sample] = {}
        for split, sample in group:
            within += split in first
            first.setdefault(split, sample)
        across += [(str(one.image), str(other.image)) for one, other in combinations(first.values(), 2)]
        truths: dict[Hashable, Sample] = {}
        for _, sample in group:
            truths.setdefault(sample.label if sample.labels is None else sample.labels, sample)
        if len(truths) > 1:
            one, other, *_ = truths.values()
            contradicting.append((str(one.image), str(other.image)))
    return Duplicates(within, across, contradicting)


def _groups(facts: Mapping[str, Sequence[Facts]]) -> Iterator[list[tuple[str, Sample]]]:
    """Split and sample of all files of one content, where there are several."""
    first: dict[bytes, tuple[str, Sample]] = {}
    groups: defaultdict[bytes, list[tuple[str, Sample]]] = defaultdict(list)
    for split, seen in facts.items():
        for one in seen:
            entry = (split, one.sample)
            if one.digest in first:
                groups[one.digest].append(entry)
            first.setdefault(one.digest, entry)
    for digest, others in groups.items():
        yield [first[digest], *others]
