"""Folders named like splits, in any usual spelling, outside or inside of the folders of classes, images and masks."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.trees import dataset_of, touch

from byoc_vision.data.formats import find_dataset, read_folder
from byoc_vision.data.samples import DataOptions, Dataset
from byoc_vision.errors import DataError, InputError

SPELLINGS = [
    ("train", "val", "test"),
    ("Training", "Validation", "Testing"),
    ("training_set", "valid", "test_set"),
    ("seg_train", "dev", "seg_test"),
    ("train_data", "eval", "TEST"),
    ("train2017", "val2017", "test2017"),
    ("stage1_train", "stage1_val", "stage1_test"),
]


def counts(dataset: Dataset) -> list[int]:
    return [len(samples) for samples in dataset.splits.values()]


@pytest.mark.parametrize("names", SPELLINGS)
def test_outside_of_classes(tmp_path: Path, names: tuple[str, str, str]) -> None:
    for count, split in zip((3, 2, 1), names, strict=True):
        touch(tmp_path, *(f"{split}/{kind}/{index}.jpg" for kind in ("cat", "dog") for index in range(count)))
    dataset = dataset_of(tmp_path)
    assert dataset.class_names == ("cat", "dog")
    assert counts(dataset) == [6, 4, 2]


@pytest.mark.parametrize("names", SPELLINGS)
def test_inside_of_classes(tmp_path: Path, names: tuple[str, str, str]) -> None:
    for count, split in zip((3, 2, 1), names, strict=True):
        touch(tmp_path, *(f"{kind}/{split}/{index}.jpg" for kind in ("cat", "dog") for index in range(count)))
    dataset = dataset_of(tmp_path)
    assert dataset.class_names == ("cat", "dog")
    assert counts(dataset) == [6, 4, 2]
    assert len(read_folder(tmp_path, "classification", dataset.classes)) == 2, "the test split"


@pytest.mark.parametrize("names", SPELLINGS)
def test_inside_of_images_and_masks(tmp_path: Path, names: tuple[str, str, str]) -> None:
    for count, split in zip((3, 2, 1), names, strict=True):
        touch(tmp_path, *(f"images/{split}/{index}.jpg" for index in range(count)))
        touch(tmp_path, *(f"masks/{split}/{index}.png" for index in range(count)))
    dataset = dataset_of(tmp_path)
    assert counts(dataset) == [3, 2, 1]
    assert [sample.mask for sample in dataset.test] == [tmp_path / f"masks/{names[2]}/0.png"]


def test_images_and_masks_may_spell_them_differently(tmp_path: Path) -> None:
    touch(tmp_path, "images/training/1.jpg", "images/val/2.jpg", "masks/train/1.png", "masks/validation/2.png")
    dataset = dataset_of(tmp_path)
    assert [sample.mask for sample in dataset.train] == [tmp_path / "masks/train/1.png"]


def test_images_and_masks_of_splits_side_by_side(tmp_path: Path) -> None:
    touch(tmp_path, "train_images/1.jpg", "train_masks/1.png", "val_images/2.jpg", "val_masks/2.png")
    assert counts(dataset_of(tmp_path)) == [1, 1]


@pytest.mark.parametrize("name", ["train", "test", "Testing", "val"])
def test_a_class_named_like_a_split_is_an_error_with_both_readings(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "bus/1.jpg", "bus/2.jpg", "car/2.jpg", f"{name}/3.jpg")
    with pytest.raises(InputError, match=rf"read in two ways: {name}/ as splits, or as classes like bus/, car/"):
        dataset_of(tmp_path)
    assert set(find_dataset({"train": tmp_path}, DataOptions(layout="class_folders")).class_names) == {
        "bus",
        "car",
        name,
    }


@pytest.mark.parametrize(
    "names", [["train/1.jpg", "val/2.jpg", "cat/3.jpg"], ["Training/cat/1.jpg", "Training/dog/1.jpg", "others/1.jpg"]]
)
def test_splits_beside_other_folders_are_an_error_with_both_readings(tmp_path: Path, names: list[str]) -> None:
    touch(tmp_path, *names)
    with pytest.raises(InputError, match=r"can be read in two ways: .* as splits, or as classes like (cat|others)/\."):
        dataset_of(tmp_path)


@pytest.mark.parametrize("outer", ["Train", "train/seg_train", "trainval"])
def test_a_split_alone(tmp_path: Path, outer: str) -> None:
    """As archives of one split unpack."""
    touch(tmp_path, *(f"{outer}/{kind}/{index}.jpg" for kind in ("cat", "dog") for index in range(2)))
    assert dataset_of(tmp_path).class_names == ("cat", "dog")


@pytest.mark.parametrize("layout", ["x_{}/{}.jpg y_{}/{}.png", "images_{}/{}.jpg masks_{}/{}.png"])
def test_the_split_may_come_last(tmp_path: Path, layout: str) -> None:
    for count, split in ((3, "train"), (2, "val")):
        for index in range(count):
            touch(tmp_path, *(name.format(split, index) for name in layout.split()))
    assert counts(dataset_of(tmp_path)) == [3, 2]


@pytest.mark.parametrize("names", [("fold1", "fold2", "fold3"), ("amazon", "webcam")])
def test_parts_with_the_same_folders_are_an_error_with_both_readings(tmp_path: Path, names: tuple[str, ...]) -> None:
    touch(tmp_path, *(f"{part}/{kind}/{index}.jpg" for part in names for kind in ("cat", "dog") for index in range(2)))
    with pytest.raises(InputError, match=rf"as the classes {', '.join(names)}, or as the classes cat, dog in several"):
        dataset_of(tmp_path)
    assert find_dataset({"train": tmp_path}, DataOptions(layout="class_folders")).class_names == names


def test_splits_in_folders_of_their_own_name(tmp_path: Path) -> None:
    """As archives of single splits unpack side by side."""
    touch(tmp_path, *(f"seg_train/seg_train/{kind}/{index}.jpg" for kind in ("cat", "dog") for index in range(3)))
    touch(tmp_path, *(f"seg_test/seg_test/{kind}/{index}.jpg" for kind in ("cat", "dog") for index in range(2)))
    dataset = dataset_of(tmp_path)
    assert dataset.class_names == ("cat", "dog")
    assert [len(dataset.splits["train"]) + len(dataset.splits["validation"]), len(dataset.test)] == [6, 4]


class TestTextFilesOfSplits:
    """They are read in every format that has no other splits."""

    @pytest.mark.parametrize("folder", ["", "splits/", "meta/"])
    def test_images_and_masks(self, tmp_path: Path, folder: str) -> None:
        touch(
            tmp_path, *(f"images/{n}.jpg" for n in range(6)), *(f"masks/{n}.png" for n in range(6)), f"{folder}val.txt"
        )
        (tmp_path / f"{folder}train.txt").write_text("0\n1\n2\n", encoding="utf-8")
        (tmp_path / f"{folder}val.txt").write_text("3\n4\nelsewhere\n", encoding="utf-8")
        (tmp_path / f"{folder}test.txt").write_text("images/5.jpg masks/5.png\n", encoding="utf-8")
        assert counts(dataset_of(tmp_path)) == [3, 2, 1]

    def test_class_folders(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        root = tmp_path / "food-101"  # as the archive unpacks
        touch(root, *(f"images/{kind}/{n}.jpg" for kind in ("cat", "dog") for n in range(5)), "meta/train.txt")
        lines = {"train": "cat/0 cat/1 dog/0.jpg dog/1", "test": "cat/2 dog/2 dog/3"}
        for split, names in lines.items():
            (root / f"meta/{split}.txt").write_text("\n".join(names.split()), encoding="utf-8")
        dataset = dataset_of(tmp_path)
        assert [sample.image.parent.name for sample in dataset.test] == ["cat", "dog", "dog"]
        assert "images in no list of a split, which are training images: 3, such as" in caplog.text

    def test_no_training_image_is_left(self, tmp_path: Path) -> None:
        touch(tmp_path, "cat/1.jpg", "dog/2.jpg")
        (tmp_path / "test.txt").write_text("cat/1.jpg\ndog/2.jpg\n", encoding="utf-8")
        with pytest.raises(DataError, match=r"leave no training image; list some in train\.txt"):
            dataset_of(tmp_path)


def test_thumbnails_of_network_drives_are_left_out(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "cat/1.jpg",
        "dog/1.jpg",
        "dog/2.jpg",
        "@eaDir/1.jpg/SYNOPHOTO_THUMB_M.jpg",
        "cat/@eaDir/1.jpg/THUMB.jpg",
    )
    dataset = dataset_of(tmp_path)
    assert dataset.class_names == ("cat", "dog")
    assert sum(counts(dataset)) == 3


class TestUnreadFiles:
    def test_they_are_counted_by_ending(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        touch(tmp_path, "cat/1.jpg", "cat/2.CR2", "cat/3.cr2", "dog/0.jpg", "dog/1.jfif", "dog/2.psd", "dog/notes.txt")
        assert sum(counts(dataset_of(tmp_path))) == 3
        assert "files that are not read: 3 (2 × .cr2, 1 × .psd)" in caplog.text

    def test_a_class_without_a_readable_file(self, tmp_path: Path) -> None:
        touch(tmp_path, "cat/1.jpg", "dog/1.cr2", "dog/2.psd")
        with pytest.raises(DataError, match=r"dog: the class folder holds no images .*, only 1 × \.cr2, 1 × \.psd"):
            dataset_of(tmp_path)
