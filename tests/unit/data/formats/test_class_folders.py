"""Folders that are classes: their names and order, and images of a class in several splits."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from support.datasets import class_folders_tree
from support.trees import dataset_of, dataset_of_channels, touch

from byoc_vision.data.formats import find_dataset, read_folder
from byoc_vision.data.formats.class_folders import without_prefixes
from byoc_vision.data.samples import DataOptions
from byoc_vision.errors import DataError
from byoc_vision.types import ClassInfo


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
    dataset = dataset_of(tmp_path)
    assert dataset.class_names == ("Affenpinscher", "Afghan_hound", "Airedale_terrier")
    assert [len(samples) for samples in dataset.splits.values()] == [12, 6, 6]
    assert [sample.label for sample in dataset.test] == [0, 0, 1, 1, 2, 2]


def test_the_classes_may_be_in_a_single_folder(tmp_path: Path) -> None:
    """Beside files that say something about them, as in CUB-200."""
    touch(tmp_path, *(f"images/{name}/{n}.jpg" for name in ("001.Auk", "002.Owl") for n in range(3)), "classes.txt")
    assert dataset_of(tmp_path).class_names == ("Auk", "Owl")


def test_labels_follow_the_numbers_of_the_folders(tmp_path: Path) -> None:
    touch(tmp_path, "10.ant/1.jpg", "9.zebra/1.jpg", "10.ant/2.jpg", "9.zebra/2.jpg")
    assert dataset_of(tmp_path).class_names == ("zebra", "ant")


def test_a_folder_is_measured_by_either_name(tmp_path: Path) -> None:
    class_folders_tree(tmp_path, names=("001.cat", "002.dog"))
    for names in (("dog", "cat"), ("002.dog", "001.cat")):
        samples = read_folder(tmp_path / "test", "classification", [ClassInfo(name) for name in names])
        assert [(sample.image.parent.name, sample.label) for sample in samples[1:3]] == [("001.cat", 1), ("002.dog", 0)]


def test_a_class_in_validation_only(tmp_path: Path) -> None:
    touch(class_folders_tree(tmp_path), "valid/004.Akita/1.jpg")
    with pytest.raises(DataError) as raised:
        dataset_of(tmp_path)
    text = str(raised.value)
    assert f"{tmp_path}/valid/004.Akita: there is no class '004.Akita' in training" in text
    assert "add training images of it, rename the folder, or remove it from validation" in text


def test_small_classes_are_left_out_of_all_splits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = [f"{number}.jpg" for number in range(5)]
    touch(tmp_path, *(f"train/{kind}/{name}" for kind in ("ant", "bee", "cow") for name in names))
    touch(tmp_path, "train/axolotl/1.jpg", "valid/ant/1.jpg", "valid/axolotl/1.jpg", "valid/bee/2.jpg")
    (tmp_path / "train/auk").mkdir()
    dataset = dataset_of(tmp_path, min_class_count=3)
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
        assert len(dataset_of(tmp_path).classes) == 3
    assert ("give them one name" in caplog.text) is warned


@pytest.mark.parametrize("name", ["b\x1b[31m", "b\u202e"])
def test_names_that_a_model_cannot_store_are_refused(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "a/1.jpg", "a/2.jpg", f"{name}/1.jpg", f"{name}/2.jpg")
    with pytest.raises(DataError, match=r"rename these classes.*\n.*the name 'b.* has control characters, or bytes"):
        dataset_of(tmp_path)


def test_folders_are_classes_in_natural_order(tmp_path: Path) -> None:
    touch(tmp_path, "train/10/a.jpg", "train/9/b.png", "train/cat/deep/c.webp", "train/cat/readme.txt")
    dataset = dataset_of_channels(touch(tmp_path, "validation/cat/d.jpg", "validation/10/e.jpg"))
    assert dataset.task == "classification"
    assert dataset.classes == (ClassInfo("9"), ClassInfo("10"), ClassInfo("cat"))
    assert [(sample.image.name, sample.label) for sample in dataset.train] == [
        ("b.png", 0),
        ("a.jpg", 1),
        ("c.webp", 2),
    ]
    assert [(sample.image.name, sample.label) for sample in dataset.validation] == [("e.jpg", 1), ("d.jpg", 2)]
    assert dataset.test == ()
    assert dataset.ignore_value is None


def test_a_test_channel_is_read(tmp_path: Path) -> None:
    dataset = dataset_of_channels(
        touch(tmp_path, "train/a/1.jpg", "train/b/2.jpg", "validation/a/3.jpg", "test/b/4.jpg")
    )
    assert [sample.label for sample in dataset.test] == [1]
    assert list(dataset.splits) == ["train", "validation", "test"]


def test_hidden_files_are_not_classes_and_not_images(tmp_path: Path) -> None:
    touch(tmp_path, "train/.ipynb_checkpoints/x.jpg", "train/__MACOSX/a/._1.jpg", "train/.DS_Store")
    dataset = dataset_of_channels(
        touch(tmp_path, "train/a/1.jpg", "train/a/._1.jpg", "train/b/2.jpg", "validation/a/3.jpg")
    )
    assert dataset.class_names == ("a", "b")
    assert len(dataset.train) == 2


def test_validation_is_held_out_if_it_is_missing(tmp_path: Path) -> None:
    touch(tmp_path, *(f"train/{name}/{index}.jpg" for name in "ab" for index in range(10)))
    dataset = dataset_of_channels(tmp_path, validation_split=0.3, seed=5)
    assert sorted(sample.label or 0 for sample in dataset.validation) == [0, 0, 0, 1, 1, 1]
    assert len(dataset.train) == 14
    assert dataset_of_channels(tmp_path, validation_split=0.3, seed=5) == dataset


def test_empty_and_unknown_class_folders_are_all_named(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "train/a/1.jpg",
        "train/b/notes.txt",
        "train/c/x/y.csv",
        "validation/a/1.jpg",
        "validation/zebra/1.jpg",
    )
    (tmp_path / "train/d").mkdir()
    with pytest.raises(DataError) as raised:
        dataset_of_channels(tmp_path)
    text = str(raised.value)
    assert f"{tmp_path}/train/b: the class folder holds no images" in text
    assert "only files like 'notes.txt'" in text
    assert "only files like 'x/'" in text
    assert f"{tmp_path}/train/d: the class folder is empty" in text
    assert "zebra: there is no class 'zebra' in training (classes: a, b, c, d)" in text


def test_a_validation_channel_without_class_folders(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.jpg", "train/b/2.jpg", "validation/3.jpg")
    with pytest.raises(DataError, match="validation holds no class folders; expected: a, b"):
        dataset_of_channels(tmp_path)


def test_a_single_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="single class folder, 'images'; a classifier needs two"):
        dataset_of_channels(touch(tmp_path, "train/images/1.jpg", "train/images/2.jpg"))


def test_images_outside_are_mentioned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dataset_of_channels(touch(tmp_path, "train/a/1.jpg", "train/b/2.jpg", "train/lost.jpg", "validation/a/3.jpg"))
    assert "outside of class folders, which are not read: 1" in caplog.text
