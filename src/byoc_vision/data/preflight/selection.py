"""Which samples are read before training, where there are too many to read them all."""

from __future__ import annotations

import random
from collections.abc import Hashable, Mapping, Sequence

from byoc_vision.data.samples import Sample

MOST_CHECKED = 20_000  # a few minutes on a small machine; ImageNet would take an hour


def select(splits: Mapping[str, Sequence[Sample]], limit: int | None, seed: int) -> dict[str, list[Sample]]:
    """At most `limit` samples, MOST_CHECKED by default: of each split in proportion, and one at least.

    Where labels are known, each class is among them as far as the number allows. The same seed gives the same samples,
    in the order that they had.
    """
    limit = limit or MOST_CHECKED
    total = sum(len(samples) for samples in splits.values())
    if total <= limit:
        return {name: list(samples) for name, samples in splits.items()}
    draw = random.Random(seed)
    counts = _shares([len(samples) for samples in splits.values()], limit)
    return {name: _drawn(samples, count, draw) for (name, samples), count in zip(splits.items(), counts, strict=True)}


def _shares(sizes: Sequence[int], limit: int) -> list[int]:
    """One of each, and of the rest a share in proportion, rounded so that all of them come to `limit`."""
    room, rest = max(0, limit - len(sizes)), max(1, sum(sizes) - len(sizes))
    upto = [round(room * (sum(sizes[: place + 1]) - place - 1) / rest) for place in range(len(sizes))]
    return [1 + share - before for share, before in zip(upto, [0, *upto], strict=False)]


def _drawn(samples: Sequence[Sample], count: int, draw: random.Random) -> list[Sample]:
    order = list(range(len(samples)))
    draw.shuffle(order)
    first: dict[Hashable, int] = {}
    for index in order:
        for kind in _kinds(samples[index]):
            first.setdefault(kind, index)
    # A dict keeps the order and drops the doubles: one of each class, then as they were drawn.
    chosen = list(dict.fromkeys([*first.values(), *order]))[:count]
    return [samples[index] for index in sorted(chosen)]


def _kinds(sample: Sample) -> Sequence[Hashable]:
    if sample.labels is not None:
        return sample.labels
    kind = sample.stratum if sample.label is None else sample.label
    return () if kind is None else (kind,)
