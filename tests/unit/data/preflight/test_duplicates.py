"""Copies of a picture: within a split, across splits, under two classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from byoc_vision.data.preflight.duplicates import find_duplicates
from byoc_vision.data.preflight.facts import Facts
from byoc_vision.data.preflight_report import Duplicates
from byoc_vision.data.samples import Sample


def picture(name: str, content: str, label: int | None = None, labels: tuple[int, ...] | None = None) -> Facts:
    sample = Sample(Path(name), label=label, labels=labels)
    return Facts(sample, 1, 1, content.encode(), np.zeros(3), np.zeros(3), 0, 0, False, False)


def test_none() -> None:
    assert (
        find_duplicates({"train": [picture("a", "1"), picture("b", "2")], "test": [picture("c", "3")]}) == Duplicates()
    )


def test_within_a_split_they_are_counted() -> None:
    train = [picture("a", "1", 0), picture("b", "1", 0), picture("c", "1", 0), picture("d", "2", 0)]
    assert find_duplicates({"train": train}) == Duplicates(within=2)


def test_across_splits_they_are_named_training_first() -> None:
    found = find_duplicates(
        {
            "train": [picture("t", "1"), picture("t2", "1")],
            "validation": [picture("v", "2"), picture("v2", "1")],
            "test": [picture("e", "2"), picture("e2", "1")],
        }
    )
    assert found.within == 1
    assert sorted(found.across) == [("t", "e2"), ("t", "v2"), ("v", "e"), ("v2", "e2")]
    assert found.contradicting == []


def test_two_classes_of_one_picture() -> None:
    train = [picture("a", "1", label=0), picture("b", "1", label=0), picture("c", "1", label=2)]
    assert find_duplicates({"train": train}).contradicting == [("a", "c")]
    train = [picture("a", "1", labels=(0, 1)), picture("b", "1", labels=(0,)), picture("c", "2", labels=())]
    assert find_duplicates({"train": train}).contradicting == [("a", "b")]
