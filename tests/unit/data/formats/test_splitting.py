"""Holding samples out for validation."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from byoc_vision.data.formats.splitting import hold_out
from byoc_vision.data.samples import Sample
from byoc_vision.errors import DataError, InputError

shares = st.floats(0.01, 0.99)
seeds = st.integers(0, 2**32)


def samples(count: int) -> tuple[Sample, ...]:
    return tuple(Sample(Path(f"{index}.jpg"), mask=Path(f"{index}.png")) for index in range(count))


def labelled(labels: list[int]) -> tuple[Sample, ...]:
    return tuple(Sample(Path(f"{index}.jpg"), label=label) for index, label in enumerate(labels))


def is_ordered_partition(train: tuple[Sample, ...], validation: tuple[Sample, ...], whole: tuple[Sample, ...]) -> bool:
    kept, held_out = set(train), set(validation)
    return (
        train == tuple(s for s in whole if s in kept)
        and validation == tuple(s for s in whole if s not in kept)
        and bool(kept and held_out)
    )


@given(st.integers(2, 300), shares, seeds)
def test_each_sample_is_on_one_side_in_order(count: int, share: float, seed: int) -> None:
    whole = samples(count)
    train, validation = hold_out(whole, share, seed)
    assert is_ordered_partition(train, validation, whole)
    assert abs(len(validation) - count * share) <= 1 or len(validation) in (1, count - 1)
    assert hold_out(whole, share, seed) == (train, validation)


def test_another_seed_is_another_split() -> None:
    assert hold_out(samples(100), 0.2, seed=1) != hold_out(samples(100), 0.2, seed=2)


@given(st.lists(st.integers(0, 30), min_size=2, max_size=200), shares, seeds)
def test_the_share_of_the_whole_is_kept_and_each_class_gives_one(labels: list[int], share: float, seed: int) -> None:
    sizes = Counter(labels)
    assume(max(sizes.values()) > 1)
    whole = labelled(labels)
    train, validation = hold_out(whole, share, seed)
    assert is_ordered_partition(train, validation, whole)
    assert hold_out(whole, share, seed) == (train, validation)
    wanted = min(max(1, round(len(whole) * share)), len(whole) - 1)
    assert len(validation) == min(wanted, sum(size - 1 for size in sizes.values()))
    kept, held_out = (Counter(sample.label for sample in part) for part in (train, validation))
    divisible = [label for label, size in sizes.items() if size > 1]
    assert all(kept[label] for label in sizes)
    assert all(held_out[label] for label in divisible) or wanted < len(divisible)


@given(st.lists(st.integers(10, 60), min_size=1, max_size=6), st.floats(0.1, 0.8), seeds)
def test_classes_keep_their_shares(sizes: list[int], share: float, seed: int) -> None:
    _, validation = hold_out(labelled([label for label, size in enumerate(sizes) for _ in range(size)]), share, seed)
    held_out = Counter(sample.label for sample in validation)
    exact = len(validation) / sum(sizes)
    assert all(abs(held_out[label] - size * exact) <= 1 for label, size in enumerate(sizes))


@pytest.mark.parametrize(
    ("sizes", "share", "images", "classes"),
    [
        ([2] * 100, 0.2, 40, 40),
        ([3] * 50, 0.2, 30, 30),
        ([2] * 1500, 0.2, 600, 600),
        ([3] * 50, 0.34, 51, 50),
        ([40, 2], 0.2, 8, 2),
        ([1000, 5, 5, 2, 1], 0.1, 101, 4),
    ],
    ids=["100 of 2", "50 of 3", "1500 of 2", "50 of 3, enough for all", "one is rare", "several are rare"],
)
def test_small_classes_do_not_move_the_share(sizes: list[int], share: float, images: int, classes: int) -> None:
    _, validation = hold_out(labelled([label for label, size in enumerate(sizes) for _ in range(size)]), share, 0)
    assert len(validation) == images
    assert len({sample.label for sample in validation}) == classes


@given(seeds)
def test_a_rare_class_in_groups_is_validated(seed: int) -> None:
    whole = tuple(Sample(Path(f"{index}.jpg"), label=int(index >= 40), group=str(index // 2)) for index in range(44))
    train, validation = hold_out(whole, 0.2, seed)
    assert {sample.label for sample in train} == {sample.label for sample in validation} == {0, 1}
    assert not {sample.group for sample in train} & {sample.group for sample in validation}
    assert 9 <= len(validation) <= 10


@given(st.lists(st.sampled_from("abcdef"), min_size=2, max_size=100), shares, seeds)
def test_groups_are_never_divided(groups: list[str], share: float, seed: int) -> None:
    assume(len(set(groups)) > 1)
    whole = tuple(Sample(Path(f"{index}.jpg"), label=0, group=group) for index, group in enumerate(groups))
    train, validation = hold_out(whole, share, seed)
    assert is_ordered_partition(train, validation, whole)
    assert not {sample.group for sample in train} & {sample.group for sample in validation}


def test_samples_without_a_group_are_groups_of_one() -> None:
    whole = (
        Sample(Path("a.jpg"), group="0"),
        Sample(Path("b.jpg"), group="0"),
        Sample(Path("c.jpg")),
        Sample(Path("d.jpg")),
    )
    for seed in range(20):
        train, _ = hold_out(whole, 0.25, seed)
        assert len([sample for sample in train if sample.group == "0"]) in (0, 2)


@pytest.mark.parametrize(
    "whole",
    [samples(1), labelled([0, 1, 2]), tuple(Sample(Path(f"{index}.jpg"), group="one") for index in range(5))],
    ids=["one sample", "one of each class", "one group"],
)
def test_what_cannot_be_divided_is_said(whole: tuple[Sample, ...]) -> None:
    with pytest.raises(DataError, match="add images, or a channel 'validation'"):
        hold_out(whole, 0.5, seed=0)


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan")])
def test_shares_outside_are_refused(share: float) -> None:
    with pytest.raises(InputError, match="validation_split="):
        hold_out(samples(10), share, seed=0)
