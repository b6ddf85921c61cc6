"""Which samples are read before training, if there are too many to read them all."""

from __future__ import annotations

import random
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from typing import NamedTuple

from byoc_vision.data.samples import ByteRange, DrawnMask, MaskSource, Sample
from byoc_vision.system.machine import available_cores

# For network file systems, where each request waits; a local disk answers at once.
_THREADS = 16
_FILES_AT_ONCE = 256

# A byte of these formats decodes in about a quarter of the time of a byte of JPEG or WebP.
_LOOSE_SUFFIXES = frozenset({".png", ".bmp", ".tif", ".tiff", ".gif"})
_LOOSENESS = 4


class Sizes(NamedTuple):
    """Of a sample's files, in bytes: 0 if a file is empty or missing. mask: None for a sample without a mask."""

    image: int
    mask: int | None = None

    @property
    def are_empty(self) -> bool:
        """Whether a file is empty or missing."""
        return not self.image or self.mask == 0


def measure_sizes(splits: Mapping[str, Sequence[Sample]]) -> dict[str, list[Sizes]]:
    """The sizes of all samples' files, in the order of the samples. No file is opened."""
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="sizes") as pool:
        return {
            split: [sizes for part in pool.map(_measured, _parts(samples)) for sizes in part]
            for split, samples in splits.items()
        }


def decoding_cost(sample: Sample, sizes: Sizes) -> int:
    """The cost of reading a sample, in bytes of JPEG that take as long to decode.

    A mask counts as much as its image: it has fewer bytes but as many pixels.
    """
    suffix = "" if isinstance(sample.image, ByteRange) else sample.image.suffix.lower()
    image = sizes.image // (_LOOSENESS if suffix in _LOOSE_SUFFIXES else 1)
    return image if sizes.mask is None else 2 * image


def _parts(samples: Sequence[Sample]) -> list[Sequence[Sample]]:
    return [samples[start : start + _FILES_AT_ONCE] for start in range(0, len(samples), _FILES_AT_ONCE)]


def _measured(samples: Sequence[Sample]) -> list[Sizes]:
    return [Sizes(_size(sample.image), None if sample.mask is None else _size(sample.mask)) for sample in samples]


def _size(file: MaskSource) -> int:
    if isinstance(file, DrawnMask):
        return 1 + sum(map(len, file.outlines)) + len(file.ranges)  # without a shape it is background, not empty
    if isinstance(file, ByteRange):
        return file.size
    try:
        return file.stat().st_size
    except OSError:
        return 0


MOST_CHECKED = 20_000  # a few minutes on a small machine; all of ImageNet would take an hour
# About two seconds: a slow core decodes 10 to 15 MB of JPEG per second.
BUDGET_PER_CORE = 25_000_000

Splits = Mapping[str, Sequence[Sample]]


def job_budget() -> int:
    """The bytes of JPEG that a training job decodes before its first step, if no number of images is given.

    The first step waits for this, so it takes about two seconds.
    """
    return BUDGET_PER_CORE * available_cores()


def choose_samples(
    splits: Splits,
    limit: int | None,
    seed: int,
    *,
    sizes: Mapping[str, Sequence[Sizes]] | None = None,
    budget: int | None = None,
) -> dict[str, list[Sample]]:
    """At most `limit` samples, MOST_CHECKED by default: of each split in proportion, but at least one.

    If labels are known, every class is included as far as the number allows. The same seed gives the same samples, in
    their original order.

    Args:
        budget: the total cost of reading, see `decoding_cost`, divided among the splits. Only the one sample that each
            split always has may exceed it.
        sizes: of the samples' files; needed with `budget`.
    """
    limit = limit or MOST_CHECKED
    costs = {name: _costs(samples, sizes[name] if sizes else ()) for name, samples in splits.items()}
    total = sum(map(sum, costs.values()))
    is_bounded = budget is not None and total > budget
    if sum(map(len, splits.values())) <= limit and not is_bounded:
        return {name: list(samples) for name, samples in splits.items()}
    draw = random.Random(seed)
    counts = _shares([len(samples) for samples in splits.values()], limit)
    chosen = {}
    for (name, samples), count in zip(splits.items(), counts, strict=True):
        drawn = _drawn(samples, draw)[:count]
        if budget is not None and is_bounded:
            drawn = _affordable(drawn, costs[name], budget * sum(costs[name]) / total)
        chosen[name] = [samples[index] for index in sorted(drawn)]
    return chosen


def with_empty_files(chosen: Splits, splits: Splits, sizes: Mapping[str, Sequence[Sizes]]) -> dict[str, list[Sample]]:
    """The chosen samples, and all samples with an empty or missing file: to find these costs nothing."""
    completed = {}
    for name, samples in splits.items():
        empty = [sample for sample, size in zip(samples, sizes[name], strict=True) if size.are_empty]
        wanted = {*chosen[name], *empty} if empty else ()
        completed[name] = [sample for sample in samples if sample in wanted] if empty else list(chosen[name])
    return completed


def _shares(sizes: Sequence[int], limit: int) -> list[int]:
    """One of each split, and the rest in proportion, rounded so that the sum is `limit`."""
    if sum(sizes) <= limit:
        return list(sizes)
    room, rest = max(0, limit - len(sizes)), max(1, sum(sizes) - len(sizes))
    upto = [round(room * (sum(sizes[: place + 1]) - place - 1) / rest) for place in range(len(sizes))]
    return [1 + share - before for share, before in zip(upto, [0, *upto], strict=False)]


def _drawn(samples: Sequence[Sample], draw: random.Random) -> list[int]:
    """The indices of all samples in random order, but one of each class first."""
    order = list(range(len(samples)))
    draw.shuffle(order)
    first: dict[Hashable, int] = {}
    for index in order:
        for kind in _kinds(samples[index]):
            first.setdefault(kind, index)
    return list(dict.fromkeys([*first.values(), *order]))  # a dict keeps the order and drops duplicates


def _costs(samples: Sequence[Sample], sizes: Sequence[Sizes]) -> list[int]:
    return [decoding_cost(sample, size) for sample, size in zip(samples, sizes, strict=False)]


def _affordable(places: Sequence[int], costs: Sequence[int], allowance: float) -> list[int]:
    """The first index, and the following ones as long as their total cost is within the allowance."""
    spent = accumulate(costs[place] for place in places)
    return [place for place, so_far in zip(places, spent, strict=True) if place == places[0] or so_far <= allowance]


def _kinds(sample: Sample) -> Sequence[Hashable]:
    is_stratified = sample.stratum is not None and sample.label is None and sample.labels is None
    return (sample.stratum,) if is_stratified else sample.class_indices
