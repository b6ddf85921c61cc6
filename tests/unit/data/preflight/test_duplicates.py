"""Copies of an image: within a split, across splits, under two classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from byoc_vision.data.preflight.duplicates import find_duplicates, hash_same_size
from byoc_vision.data.preflight.report import Duplicates
from byoc_vision.data.preflight.scan import InvalidSample, SampleStats, ScanResult, digest
from byoc_vision.data.preflight.subsample import measure_sizes
from byoc_vision.data.samples import Sample


def image(name: str, content: str, label: int | None = None, labels: tuple[int, ...] | None = None) -> SampleStats:
    sample = Sample(Path(name), label=label, labels=labels)
    return SampleStats(sample, 1, 1, content.encode(), np.zeros(3), np.zeros(3), 0, 0, False, False)


def test_none() -> None:
    assert find_duplicates({"train": [image("a", "1"), image("b", "2")], "test": [image("c", "3")]}) == Duplicates()


def test_within_a_split_they_are_counted() -> None:
    train = [image("a", "1", 0), image("b", "1", 0), image("c", "1", 0), image("d", "2", 0)]
    assert find_duplicates({"train": train}) == Duplicates(within=2)


def test_across_splits_they_are_named_training_first() -> None:
    found = find_duplicates(
        {
            "train": [image("t", "1"), image("t2", "1")],
            "validation": [image("v", "2"), image("v2", "1")],
            "test": [image("e", "2"), image("e2", "1")],
        }
    )
    assert found.within == 1
    assert sorted(found.across) == [("t", "e2"), ("t", "v2"), ("v", "e"), ("v2", "e2")]
    assert found.contradicting == []


def test_two_classes_of_one_image() -> None:
    train = [image("a", "1", label=0), image("b", "1", label=0), image("c", "1", label=2)]
    assert find_duplicates({"train": train}).contradicting == [("a", "c")]
    train = [image("a", "1", labels=(0, 1)), image("b", "1", labels=(0,)), image("c", "2", labels=())]
    assert find_duplicates({"train": train}).contradicting == [("a", "b")]


class TestLookalikes:
    """Samples that were not read: only those whose file is as large as another are hashed."""

    @pytest.fixture
    def splits(self, tmp_path: Path) -> dict[str, list[Sample]]:
        def sample(name: str, content: str) -> Sample:
            (tmp_path / name).write_text(content)
            return Sample(tmp_path / name, label=0)

        return {
            "train": [sample("a", "ten bytes!"), sample("b", "TEN BYTES!"), sample("c", "four"), sample("d", "four")],
            "test": [sample("e", "alone"), sample("f", "ten bytes!"), sample("g", "")],
        }

    def test_those_of_one_size_are_hashed(self, splits: dict[str, list[Sample]]) -> None:
        found = hash_same_size(splits, measure_sizes(splits), ScanResult())
        assert [[one.sample.image.name for one in found.hashed[split]] for split in splits] == [list("abcd"), ["f"]]
        assert found.hashed["test"][0].digest == digest(b"ten bytes!")
        assert found.skipped == 0
        pairs = [(str(splits["train"][0].image), str(splits["test"][1].image))]
        assert find_duplicates(found.hashed) == Duplicates(1, pairs)

    def test_what_was_read_is_not_hashed_again(self, splits: dict[str, list[Sample]]) -> None:
        seen = ScanResult(
            {"train": [], "test": []}, {"train": [], "test": [InvalidSample(splits["test"][1], "cut short")]}
        )
        first = SampleStats(splits["train"][0], 1, 1, b"1", np.zeros(3), np.zeros(3), 0, 0, False, False)
        seen.stats["train"].append(first)
        found = hash_same_size(splits, measure_sizes(splits), seen)
        assert [[one.sample.image.name for one in found.hashed[split]] for split in splits] == [list("bcd"), []]

    @pytest.mark.parametrize(("budget", "names", "left"), [(30, "abf", 2), (34, "abcf", 1), (0, "", 5)])
    def test_those_of_two_splits_come_first(
        self, splits: dict[str, list[Sample]], budget: int, names: str, left: int
    ) -> None:
        found = hash_same_size(splits, measure_sizes(splits), ScanResult(), budget)
        assert sorted(one.sample.image.name for split in splits for one in found.hashed[split]) == list(names)
        assert found.skipped == left

    def test_a_file_that_goes_away_is_passed_over(self, splits: dict[str, list[Sample]]) -> None:
        sizes = measure_sizes(splits)
        splits["train"][3] = Sample(Path("gone"))
        assert len(hash_same_size(splits, sizes, ScanResult()).hashed["train"]) == 3
