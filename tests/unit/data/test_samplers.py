"""Which samples an epoch draws. The loaders' own tests show the dealing to processes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc_vision.data.samplers import SampleKey, Sampling, TrainingSampler, build_order
from byoc_vision.data.samples import Sample
from byoc_vision.errors import InputError


def labelled(*counts: int) -> list[Sample]:
    return [Sample(Path("picture.jpg"), label=label) for label, count in enumerate(counts) for _ in range(count)]


def epoch(samples: list[Sample], sampling: Sampling, number: int = 1) -> list[SampleKey]:
    sampler = TrainingSampler(build_order(sampling, samples), seed=3)
    sampler.set_epoch(number)
    drawn = list(sampler)
    assert len(drawn) == len(sampler)
    return drawn


def by_class(samples: list[Sample], drawn: list[SampleKey]) -> dict[int | None, int]:
    return dict(Counter(samples[draw.sample_index].label for draw in drawn))


@given(st.lists(st.integers(1, 12), min_size=2, max_size=5))
def test_balanced_draws_as_many_of_each_class(counts: list[int]) -> None:
    samples = labelled(*counts)
    drawn = epoch(samples, "balanced")
    assert set(by_class(samples, drawn).values()) == {-(-sum(counts) // len(counts))}
    within_class = Counter(draw.sample_index for draw in drawn)
    for label in range(len(counts)):
        times = [within_class[index] for index, sample in enumerate(samples) if sample.label == label]
        assert max(times) - min(times) <= 1


@given(st.lists(st.integers(1, 12), min_size=2, max_size=5))
def test_undersample_draws_as_many_as_the_rarest_has(counts: list[int]) -> None:
    samples = labelled(*counts)
    drawn = epoch(samples, "undersample")
    assert set(by_class(samples, drawn).values()) == {min(counts)}
    assert len({draw.sample_index for draw in drawn}) == len(drawn)


def test_other_epochs_draw_other_images() -> None:
    samples = labelled(30, 3)
    drawn = [draw.sample_index for number in range(1, 20) for draw in epoch(samples, "undersample", number)]
    assert len(set(drawn)) > 25


def test_an_image_drawn_again_says_so() -> None:
    drawn = epoch(labelled(9, 1), "balanced")
    assert sorted(draw.repetition for draw in drawn if draw.sample_index == 9) == [0, 1, 2, 3, 4]


def test_classes_are_mixed() -> None:
    samples = labelled(50, 50)
    first = [samples[draw.sample_index].label for draw in epoch(samples, "balanced")[:40]]
    assert 5 < sum(label == 0 for label in first) < 35


@pytest.mark.parametrize("sample", [Sample(Path("a"), mask=Path("b")), Sample(Path("a"), labels=(0, 1))])
def test_masks_and_several_labels_have_no_class_to_draw_by(sample: Sample) -> None:
    with pytest.raises(InputError, match=r"sampling=balanced.*class_weights=balanced"):
        build_order("balanced", [sample])


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 3))
def test_an_epoch_may_be_cut_short_and_then_begins_as_the_whole(count: int, most: int, processes: int) -> None:
    for rank in range(processes):
        whole, short = (TrainingSampler(build_order("natural", labelled(count)), 3, rank, processes) for _ in range(2))
        short.max_samples = most
        assert list(short) == list(whole)[:most]
        assert len(short) == len(list(short))
        short.set_epoch(0, first=1)
        assert list(short) == list(whole)[1:most]


def test_what_a_short_epoch_passes_over_comes_in_others() -> None:
    sampler = TrainingSampler(build_order("natural", labelled(12)), seed=3)
    sampler.max_samples = 6
    drawn = set()
    for number in range(12):
        sampler.set_epoch(number)
        drawn |= {draw.sample_index for draw in sampler}
    assert drawn == set(range(12))
