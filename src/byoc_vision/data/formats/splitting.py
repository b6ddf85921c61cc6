"""Holds out validation samples from the training samples, if there is no channel with them."""

from __future__ import annotations

import random
from collections import defaultdict

from byoc_vision.data.samples import Sample
from byoc_vision.errors import DataError, InputError


def hold_out(samples: tuple[Sample, ...], share: float, seed: int) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Training and validation samples, both in the given order; the same seed gives the same split.

    Groups are never divided. Without groups, samples are drawn from each stratum, or each class, in proportion. Each
    side gets at least one sample, and a stratum of two or more keeps one for training.

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
    for group in groups[:-1]:
        if len(held_out) >= wanted:
            break
        held_out.update(group)
    return held_out


def _draw_by_stratum(samples: tuple[Sample, ...], share: float, draw: random.Random) -> set[int]:
    members: dict[str | int | None, list[int]] = defaultdict(list)
    for index, sample in enumerate(samples):
        members[_stratum(sample)].append(index)
    counts = {stratum: min(round(len(indices) * share), len(indices) - 1) for stratum, indices in members.items()}
    if not any(counts.values()):
        largest = max(members, key=lambda stratum: len(members[stratum]))
        counts[largest] = min(1, len(members[largest]) - 1)
    return {index for stratum, indices in members.items() for index in draw.sample(indices, counts[stratum])}


def _stratum(sample: Sample) -> str | int | None:
    return sample.stratum if sample.stratum is not None else sample.label
