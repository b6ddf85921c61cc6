"""Holds out validation samples from the training samples, if there is no channel with them."""

from __future__ import annotations

import heapq
import random
from collections import Counter, defaultdict
from collections.abc import Sequence

from byoc_vision.data.samples import Sample
from byoc_vision.errors import DataError, InputError


def hold_out(samples: tuple[Sample, ...], share: float, seed: int) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Training and validation samples, both in the given order; the same seed gives the same split.

    Samples are drawn from each stratum, or each class, in proportion, so that the share of the whole is kept. A class
    of two or more samples gives at least one if the share suffices for all such classes, and keeps one for training.
    Groups are never divided; a group that shows a class which validation lacks comes first.

    share: of the samples to hold out, between 0 and 1; approximate for groups.
    Raises InputError if the share is out of range, DataError if there is nothing to divide.
    """
    if not 0 < share < 1:
        raise InputError(f"there is no channel 'validation', and validation_split={share:g} is not between 0 and 1")
    draw = random.Random(seed)
    if any(sample.group is not None for sample in samples):
        held_out = _draw_groups(samples, share, draw)
    elif any(_stratum(sample) is not None for sample in samples):
        held_out = _draw_by_stratum(samples, share, draw)
    else:
        held_out = set(draw.sample(range(len(samples)), _count(len(samples), share)))
    if not held_out:
        raise DataError(
            "the training data cannot be divided: each side needs at least one sample or group; "
            "add images, or a channel 'validation'"
        )
    training = tuple(sample for index, sample in enumerate(samples) if index not in held_out)
    return training, tuple(samples[index] for index in sorted(held_out))


def _count(total: int, share: float) -> int:
    """How many of `total` to hold out: at least one, but never all."""
    return min(max(1, round(total * share)), total - 1)


def _draw_groups(samples: tuple[Sample, ...], share: float, draw: random.Random) -> set[int]:
    members: dict[str, list[int]] = defaultdict(list)
    for index, sample in enumerate(samples):
        members[f"={sample.group}" if sample.group is not None else f"#{index}"].append(index)
    groups = list(members.values())
    draw.shuffle(groups)
    wanted = _count(len(samples), share)
    held_out: set[int] = set()
    for group in _needed_first(groups, samples, wanted):
        if len(held_out) >= wanted:
            break
        held_out.update(group)
    return held_out


def _needed_first(groups: list[list[int]], samples: tuple[Sample, ...], wanted: int) -> list[list[int]]:
    """The groups in the order in which they are held out; one is left for training.

    First those that show a class which the ones before lack, as long as no more than `wanted` samples are held out;
    last those whose loss would leave training without a class.
    """
    shown = [{stratum for index in group if (stratum := _stratum(samples[index])) is not None} for group in groups]
    in_training = Counter(stratum for strata in shown for stratum in strata)
    held: set[str | int] = set()
    order: dict[int, None] = {}
    size = 0
    for needed in (True, False):
        for place, (group, strata) in enumerate(zip(groups, shown, strict=True)):
            is_needed = bool(strata - held) and size + len(group) <= wanted
            if place in order or (needed and not is_needed) or any(in_training[stratum] == 1 for stratum in strata):
                continue
            order[place] = None
            size += len(group)
            held |= strata
            in_training.subtract(strata)
    order |= dict.fromkeys(place for place in range(len(groups)) if place not in order)
    return [groups[place] for place in list(order)[: len(groups) - 1]]


def _draw_by_stratum(samples: tuple[Sample, ...], share: float, draw: random.Random) -> set[int]:
    members: dict[str | int | None, list[int]] = defaultdict(list)
    for index, sample in enumerate(samples):
        members[_stratum(sample)].append(index)
    strata = list(members.values())
    counts = _apportion([len(indices) for indices in strata], _count(len(samples), share), draw)
    return {index for indices, count in zip(strata, counts, strict=True) for index in draw.sample(indices, count)}


def _apportion(sizes: Sequence[int], wanted: int, draw: random.Random) -> list[int]:
    """How many to take of each stratum, `wanted` in all: the next one where most is missing of the exact share.

    Without the limits this is the method of the largest remainder. The limits: each stratum keeps one, and each of two
    or more gives one if `wanted` suffices. Ties are drawn.
    """
    total = sum(sizes)
    divisible = [index for index, size in enumerate(sizes) if size > 1]
    least = 1 if len(divisible) <= wanted else 0
    counts = [least if size > 1 else 0 for size in sizes]
    missing = [
        (counts[index] * total - wanted * sizes[index], draw.random(), index)
        for index in divisible
        if counts[index] < sizes[index] - 1
    ]
    heapq.heapify(missing)
    for _ in range(min(wanted, total - len(sizes)) - sum(counts)):
        surplus, tie, index = heapq.heappop(missing)
        counts[index] += 1
        if counts[index] < sizes[index] - 1:
            heapq.heappush(missing, (surplus + total, tie, index))
    return counts


def _stratum(sample: Sample) -> str | int | None:
    return sample.stratum if sample.stratum is not None else sample.label
