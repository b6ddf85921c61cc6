"""Images with masks of their names: in a folder beside the images, or in a channel of their own.

No file is opened here, so empty files stand for images.
"""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from support.trees import dataset_of_channels, image_mask_paths, touch

from byoc_vision.errors import DataError, InputError


@pytest.mark.parametrize("masks", ["masks", "mask", "annotations", "annot", "labels", "Masks"])
@pytest.mark.parametrize("images", ["images", "imgs", "JPEGImages"])
def test_folders_inside_a_channel(tmp_path: Path, images: str, masks: str) -> None:
    touch(tmp_path, f"train/{images}/1.jpg", f"train/{masks}/1.png", f"train/{masks}/list.txt")
    dataset = dataset_of_channels(touch(tmp_path, f"validation/{images}/2.jpg", f"validation/{masks}/2.png"))
    assert dataset.task == "segmentation"
    assert dataset.classes == ()
    assert image_mask_paths(dataset.train, tmp_path) == [(f"train/{images}/1.jpg", f"train/{masks}/1.png")]
    assert len(dataset.validation) == 1


@pytest.mark.parametrize("ending", ["_annotation", "_masks", "_mask", "_labels", "-masks", "annot"])
def test_a_channel_of_its_own(tmp_path: Path, ending: str) -> None:
    touch(tmp_path, "train/1.jpg", f"train{ending}/1.png", "validation/2.jpg", f"validation{ending}/2.png")
    dataset = dataset_of_channels(tmp_path)
    assert image_mask_paths(dataset.train, tmp_path) == [("train/1.jpg", f"train{ending}/1.png")]
    assert len(dataset.validation) == 1


def test_both_ways_may_be_mixed(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.jpg", "train_masks/1.png", "validation/images/2.jpg", "validation/masks/2.png")
    assert len(dataset_of_channels(tmp_path).validation) == 1


def test_carvanas_suffix_and_any_ending(tmp_path: Path) -> None:
    touch(tmp_path, "train/a_01.jpg", "train/b.jpeg", "train_masks/a_01_mask.gif", "train_masks/b.PNG")
    touch(tmp_path, "validation/c_mask.jpg", "validation_masks/c_mask.png")
    dataset = dataset_of_channels(tmp_path)
    assert [mask for _, mask in image_mask_paths(dataset.train, tmp_path)] == [
        "train_masks/a_01_mask.gif",
        "train_masks/b.PNG",
    ]
    assert len(dataset.validation) == 1


def test_folders_below_are_part_of_the_name(tmp_path: Path) -> None:
    touch(tmp_path, "train/x/1.jpg", "train/y/1.jpg", "train_masks/x/1.png", "train_masks/y/1_mask.png")
    dataset = dataset_of_channels(touch(tmp_path, "validation/v.jpg", "validation_masks/v.png"))
    assert image_mask_paths(dataset.train, tmp_path) == [
        ("train/x/1.jpg", "train_masks/x/1.png"),
        ("train/y/1.jpg", "train_masks/y/1_mask.png"),
    ]


def test_dots_in_names_are_names(tmp_path: Path) -> None:
    touch(tmp_path, "train/v1.5.jpg", "train/v1.6.jpg", "train_masks/v1.5.png", "train_masks/v1.6.png")
    assert len(dataset_of_channels(tmp_path).train) + len(dataset_of_channels(tmp_path).validation) == 2


def test_class_folders_with_a_mask_channel_are_segmentation(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat/1.jpg", "train/dog/2.jpg", "train_masks/cat/1.png", "train_masks/dog/2.png")
    assert dataset_of_channels(tmp_path).task == "segmentation"
    touch(tmp_path, *(f"train/{name}/{index}.jpg" for name in ("cat", "dog") for index in range(3, 6)))
    assert dataset_of_channels(tmp_path, task="classification").task == "classification"


def test_wrong_stems_are_named_on_both_sides(tmp_path: Path) -> None:
    touch(tmp_path, *(f"train/street_{index}.jpg" for index in range(12)), "train/good.jpg", "train_masks/good.png")
    touch(tmp_path, *(f"train_masks/drawn_{index}.png" for index in range(12)))
    with pytest.raises(DataError) as raised:
        dataset_of_channels(tmp_path)
    text = str(raised.value)
    assert text.startswith(f"12 of 13 images in {tmp_path}/train have no mask in {tmp_path}/train_masks")
    assert "image without a mask: street_0.jpg" in text
    assert "image without a mask: … and 4 more" in text
    assert "mask without an image: drawn_0.png" in text
    assert "mask without an image: … and 4 more" in text


def test_one_missing_mask_is_an_error(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.jpg", "train/2.jpg", "train_masks/1.png")
    with pytest.raises(DataError, match=r"(?s)1 of 2 images.*image without a mask: 2\.jpg"):
        dataset_of_channels(tmp_path)


def test_masks_too_many_are_mentioned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(
        tmp_path,
        "train/1.jpg",
        "train_masks/1.png",
        "train_masks/2.png",
        "validation/3.jpg",
        "validation_masks/3.png",
    )
    assert len(dataset_of_channels(tmp_path).train) == 1
    assert "without an image, which are not read: 1, such as 2.png" in caplog.text


def test_two_images_of_one_name(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.jpg", "train/1.png", "train_masks/1.png")
    with pytest.raises(DataError, match=r"(?s)images that differ only in the ending.*1\.jpg and 1\.png"):
        dataset_of_channels(tmp_path)


def test_two_masks_of_one_name(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.jpg", "train_masks/1.png", "train_masks/1.gif")
    with pytest.raises(DataError, match=r"(?s)masks that differ only in the ending.*1\.gif and 1\.png"):
        dataset_of_channels(tmp_path)


def test_two_masks_for_one_image(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.jpg", "train_masks/1.png", "train_masks/1_mask.png")
    with pytest.raises(DataError, match=r"two masks for 1\.jpg: 1\.png and 1_mask\.png"):
        dataset_of_channels(tmp_path)


def test_mask_folders_that_hold_none(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.jpg", "train_annotation/instances.json")
    with pytest.raises(DataError, match="train_annotation holds no masks"):
        dataset_of_channels(tmp_path)


def test_two_mask_folders(tmp_path: Path) -> None:
    touch(tmp_path, "train/images/1.jpg", "train/masks/1.png", "train/labels/1.png")
    with pytest.raises(DataError, match="both labels/ and masks/ with images; keep one"):
        dataset_of_channels(tmp_path)


def test_a_mask_folder_of_other_files_does_not_confuse(tmp_path: Path) -> None:
    touch(tmp_path, *(f"train/images/{n}.jpg" for n in "12"), *(f"train/masks/{n}.png" for n in "12"))
    assert dataset_of_channels(touch(tmp_path, "train/labels/1.txt")).task == "segmentation"


def test_validation_without_masks(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.jpg", "train_masks/1.png", "validation/2.jpg")
    with pytest.raises(DataError, match=r"no masks for the validation images.*'validation_annotation'"):
        dataset_of_channels(tmp_path)


def test_a_channel_that_the_data_format_does_not_use_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    classes = [f"train/{name}/{number}.jpg" for name in ("a", "b") for number in range(5)]
    touch(tmp_path, *classes, "label_map/x.json", "validation_lst/list.lst")
    with caplog.at_level(logging.WARNING):
        dataset_of_channels(tmp_path)
    assert "channels are not read, as the data are class folders: label_map, validation_lst" in caplog.text


def test_masks_without_their_images(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.jpg", "train_masks/1.png", "validation_masks/2.png")
    with pytest.raises(InputError, match="masks for validation but no channel 'validation'"):
        dataset_of_channels(tmp_path)
