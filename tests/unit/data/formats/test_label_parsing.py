"""Small classes leave every split, and labels are counted again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc_vision.data.formats.label_parsing import without_small_classes
from byoc_vision.data.samples import Sample
from byoc_vision.errors import DataError
from byoc_vision.types import ClassInfo

NAMES = ("ant", "bee", "cow", "dog")
labels = st.lists(st.integers(0, len(NAMES) - 1), max_size=30)


def samples(of: list[int]) -> list[Sample]:
    return [Sample(Path(f"{NAMES[label]}_{index}.jpg"), label=label) for index, label in enumerate(of)]


@given(train=labels, test=labels, minimum=st.integers(0, 8))
def test_who_stays_has_enough_and_keeps_its_name(train: list[int], test: list[int], minimum: int) -> None:
    counts = Counter(train)
    large = [name for label, name in enumerate(NAMES) if counts[label] >= minimum]
    given_samples = {"train": samples(train), "test": samples(test)}
    if len(large) < 2:
        with pytest.raises(DataError, match="min_class_count"):
            without_small_classes(given_samples, NAMES, minimum)
        return
    kept, classes = without_small_classes(given_samples, NAMES, minimum)
    assert classes == tuple(map(ClassInfo, large))
    for split, of in (("train", train), ("test", test)):
        assert len(kept[split]) == sum(NAMES[label] in large for label in of)
        assert all(
            sample.label is not None and sample.image.name.startswith(classes[sample.label].name)
            for sample in kept[split]
        )


def test_without_a_minimum_all_stay() -> None:
    kept, classes = without_small_classes({"train": samples([0, 3])}, NAMES, None)
    assert [entry.name for entry in classes] == list(NAMES)
    assert [sample.label for sample in kept["train"]] == [0, 3]


def test_what_is_left_over_is_named() -> None:
    with pytest.raises(DataError) as raised:
        without_small_classes({"train": samples([0, 0, 0, 1, 2, 2])}, NAMES, 3)
    assert "1 of 4 classes have at least 3 training images (min_class_count); a classifier needs two" in str(
        raised.value
    )
    assert "bee (1), cow (2), dog (0)" in str(raised.value)
