"""Class folders by readable names; what else they do is shown in test_find_dataset."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from support.datasets import class_folders_tree
from support.trees import touch

from byoc_vision.data.formats import find_dataset, read_folder
from byoc_vision.data.formats.class_folders import without_prefixes
from byoc_vision.data.samples import DataOptions, Dataset
from byoc_vision.errors import DataError
from byoc_vision.types import ClassInfo


def find(folder: Path, **options: Any) -> Dataset:
    return find_dataset({"train": folder}, DataOptions(**options))


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (["001.Affenpinscher", "002.Afghan_hound"], ["Affenpinscher", "Afghan_hound"]),
        (["n02085620-Chihuahua", "n02085782-Japanese_spaniel"], ["Chihuahua", "Japanese_spaniel"]),
        (["1.été", "2.hiver"], ["été", "hiver"]),
        (["yorkshire_terrier", "beagle"], ["yorkshire_terrier", "beagle"]),
        (["001.ak47", "other"], ["001.ak47", "other"]),  # not all have one
        (["001.cat", "002.cat"], ["001.cat", "002.cat"]),  # they would be one
        (["1.5V", "9.0V"], ["1.5V", "9.0V"]),  # numbers
        (["1-bedroom", "2-studio"], ["1-bedroom", "2-studio"]),  # counts
        (["001", "002"], ["001", "002"]),
        (["n01", "n02"], ["n01", "n02"]),
    ],
)
def test_only_a_prefix_that_all_have_is_taken_off(folders: list[str], names: list[str]) -> None:
    assert without_prefixes(folders) == names


@pytest.mark.parametrize("outer", ["", "dogImages/"])
def test_dog_breeds_in_one_channel(tmp_path: Path, outer: str) -> None:
    class_folders_tree(tmp_path / outer)
    dataset = find(tmp_path)
    assert dataset.class_names == ("Affenpinscher", "Afghan_hound", "Airedale_terrier")
    assert [len(samples) for samples in dataset.splits.values()] == [12, 6, 6]
    assert [sample.label for sample in dataset.test] == [0, 0, 1, 1, 2, 2]


def test_the_classes_may_be_in_a_single_folder(tmp_path: Path) -> None:
    """Beside files that say something about them, as in CUB-200."""
    touch(tmp_path, *(f"images/{name}/{n}.jpg" for name in ("001.Auk", "002.Owl") for n in range(3)), "classes.txt")
    assert find(tmp_path).class_names == ("Auk", "Owl")


def test_labels_follow_the_numbers_of_the_folders(tmp_path: Path) -> None:
    touch(tmp_path, "10.ant/1.jpg", "9.zebra/1.jpg", "10.ant/2.jpg", "9.zebra/2.jpg")
    assert find(tmp_path).class_names == ("zebra", "ant")


def test_a_folder_is_measured_by_either_name(tmp_path: Path) -> None:
    class_folders_tree(tmp_path, names=("001.cat", "002.dog"))
    for names in (("dog", "cat"), ("002.dog", "001.cat")):
        samples = read_folder(tmp_path / "test", "classification", [ClassInfo(name) for name in names])
        assert [(sample.image.parent.name, sample.label) for sample in samples[1:3]] == [("001.cat", 1), ("002.dog", 0)]


def test_a_class_in_validation_only(tmp_path: Path) -> None:
    touch(class_folders_tree(tmp_path), "valid/004.Akita/1.jpg")
    with pytest.raises(DataError) as raised:
        find(tmp_path)
    text = str(raised.value)
    assert f"{tmp_path}/valid/004.Akita: there is no class '004.Akita' in training" in text
    assert "add training images of it, rename the folder, or remove it from validation" in text


def test_small_classes_are_left_out_of_all_splits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = [f"{number}.jpg" for number in range(5)]
    touch(tmp_path, *(f"train/{kind}/{name}" for kind in ("ant", "bee", "cow") for name in names))
    touch(tmp_path, "train/axolotl/1.jpg", "valid/ant/1.jpg", "valid/axolotl/1.jpg", "valid/bee/2.jpg")
    (tmp_path / "train/auk").mkdir()
    dataset = find(tmp_path, min_class_count=3)
    assert dataset.class_names == ("ant", "bee", "cow")
    assert [(sample.image.parent.name, sample.label) for sample in dataset.validation] == [("ant", 0), ("bee", 1)]
    messages = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert messages == [
        "classes with fewer than 3 training images (min_class_count) are left out: auk (0), axolotl (1)"
    ]


def test_no_class_folders_at_all(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.jpg", "train/2.jpg")
    with pytest.raises(DataError, match="no known data layout found"):
        find_dataset({"train": tmp_path / "train"}, DataOptions())


@pytest.mark.parametrize(
    ("first", "second", "warned"), [("Cat", "cat", True), ("tabby cat", "tabby_cat", True), ("cat", "cats", False)]
)
def test_classes_that_differ_only_in_case_are_warned_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, first: str, second: str, warned: bool
) -> None:
    touch(tmp_path, *(f"{name}/{number}.jpg" for name in (first, second, "dog") for number in range(5)))
    with caplog.at_level(logging.WARNING):
        assert len(find(tmp_path).classes) == 3
    assert ("give them one name" in caplog.text) is warned


@pytest.mark.parametrize("name", ["b\x1b[31m", "b\u202e"])
def test_names_that_a_model_cannot_store_are_refused(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "a/1.jpg", "a/2.jpg", f"{name}/1.jpg", f"{name}/2.jpg")
    with pytest.raises(DataError, match=r"rename these classes.*\n.*the name 'b.* has control characters, or bytes"):
        find(tmp_path)
