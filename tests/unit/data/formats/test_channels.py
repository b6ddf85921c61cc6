"""Which folder is which split: in channels, in one channel, or one folder deeper."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.trees import touch

from byoc_vision.data.formats.channels import (
    find_extras,
    find_splits,
    is_label_map,
    single_split,
    splits_within,
)
from byoc_vision.data.formats.scan import scan

CAMVID = ("train/1.png", "trainannot/1.png", "val/2.png", "valannot/2.png", "train.txt")


@pytest.mark.parametrize("outer", ["", "CamVid/"])
def test_the_folder_around_the_splits_is_kept_for_its_lists(tmp_path: Path, outer: str) -> None:
    touch(tmp_path, *(f"{outer}{name}" for name in CAMVID))
    for splits in (find_splits({"train": tmp_path}), splits_within(scan(tmp_path))):
        assert list(splits) == ["train", "validation"]
        for split in splits.values():
            assert split.masks is not None
            assert split.masks.name.endswith("annot")
            assert split.parent is not None
            assert (split.parent.path, split.parent.files) == (tmp_path / outer, ("train.txt",))


def test_channels_have_no_folder_around_them(tmp_path: Path) -> None:
    touch(tmp_path, "train/train/a/1.jpg", "train/val/a/1.jpg", "test/a/1.jpg")
    splits = find_splits({"train": tmp_path / "train", "test": tmp_path / "test"})
    assert [splits[name].parent is None for name in ("train", "validation", "test")] == [False, False, True]


def test_other_folders_do_not_hide_a_split_that_has_its_masks_beside_it(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.jpg", "train_masks/1.png", "train_hq/1.jpg")
    assert find_splits({"train": tmp_path})["train"].images.path == tmp_path / "train"
    assert list(splits_within(scan(tmp_path))) == ["train"]


def test_classes_beside_a_folder_called_train_are_classes(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.jpg", "car/1.jpg", "validation/1.jpg")
    assert find_splits({"train": tmp_path})["train"].images.path == tmp_path
    assert splits_within(scan(tmp_path)) == {}


def test_a_label_map_beside_the_splits_does_not_count_as_another_folder(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.jpg", "validation/a/1.jpg", "label_map/x.json")
    assert list(find_splits({"train": tmp_path})) == ["train", "validation"]


def test_extras_are_named_in_one_way(tmp_path: Path) -> None:
    touch(tmp_path, "x.txt")
    extras = find_extras({"Train-lst": tmp_path, "label_map": tmp_path, "train": tmp_path, "pretrained": tmp_path})
    assert set(extras) == {"train_lst", "label_map"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [("label_map", True), ("train_label_map", True), ("Validation-Label-Map", True), ("labels", False), ("map", False)],
)
def test_names_of_label_maps(name: str, expected: bool) -> None:
    assert is_label_map(name) is expected


def test_a_lone_folder_takes_what_is_beside_it(tmp_path: Path) -> None:
    touch(tmp_path, "val/1.jpg", "valannot/1.png", "label_map/x.json", "other/2.jpg")
    split = single_split(scan(tmp_path / "val"))
    assert split.masks is not None
    assert split.masks.name == "valannot"
    assert split.parent is not None
    assert [folder.name for folder in split.parent.folders] == ["label_map"]
    assert single_split(scan(tmp_path / "other")).masks is None


def test_only_a_wrapping_folder_is_taken_off(tmp_path: Path) -> None:
    touch(tmp_path, "wrapped/inner/x.txt", "wrapped/README", "two/a/1", "two/b/1", "pictures/a/1.jpg", "pictures/2.jpg")
    assert [folder.name for folder in scan(tmp_path / "wrapped").unwrapped()] == ["wrapped", "inner"]
    assert [folder.name for folder in scan(tmp_path / "two").unwrapped()] == ["two"]
    assert [folder.name for folder in scan(tmp_path / "pictures").unwrapped()] == ["pictures"]
