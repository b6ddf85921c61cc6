"""Carvana's cars: both in folders, in one folder, with what else Kaggle's files hold."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from support.datasets import car_id, carvana_strays, carvana_tree
from support.trees import dataset_of_channels, touch

from byoc_vision.data.formats import find_dataset, read_folder
from byoc_vision.data.formats.base import Inputs
from byoc_vision.data.formats.carvana import Carvana
from byoc_vision.data.formats.channels import find_splits
from byoc_vision.data.samples import DataOptions, Dataset
from byoc_vision.errors import DataError, InputError


def groups(dataset: Dataset) -> dict[str, set[str | None]]:
    return {split: {sample.group for sample in samples} for split, samples in dataset.splits.items()}


def mix(folder: Path, cars: int = 4) -> Path:
    """Images and masks of two views of each car in one folder."""
    stems = [f"{car_id(car)}_{view:02}" for car in range(cars) for view in (1, 2)]
    return touch(folder, *(f"{stem}.jpg" for stem in stems), *(f"{stem}_mask.gif" for stem in stems))


def test_two_channels(tmp_path: Path) -> None:
    dataset = dataset_of_channels(carvana_tree(tmp_path, cars=4, views=3))
    assert (len(dataset.train), len(dataset.validation)) == (9, 3)
    held_out, kept = groups(dataset)["validation"], groups(dataset)["train"]
    assert len(held_out) == 1
    assert held_out | kept == {car_id(car) for car in range(4)}
    assert not held_out & kept
    assert all(s.mask and str(s.mask) == f"{tmp_path}/train_masks/{s.image.name[:-4]}_mask.gif" for s in dataset.train)


@pytest.mark.parametrize("outer", ["", "carvana-image-masking-challenge/"])
def test_all_of_kaggles_files_in_one_channel(tmp_path: Path, outer: str, caplog: pytest.LogCaptureFixture) -> None:
    carvana_strays(carvana_tree(tmp_path / outer))
    touch(tmp_path / outer, f"train_hq/{car_id(0)}_01.jpg", f"test_hq/{car_id(900)}_01.jpg")
    with caplog.at_level(logging.INFO):
        dataset = find_dataset({"train": tmp_path}, DataOptions())
    assert {split: len(samples) for split, samples in dataset.splits.items()} == {"train": 6, "validation": 2}
    assert "test have no masks and are not evaluated" in caplog.text
    assert "folders in" in caplog.text
    assert "test_hq, train_hq" in caplog.text


@pytest.mark.parametrize("inner", ["", "cars"])
def test_both_in_one_folder(tmp_path: Path, inner: str) -> None:
    mix(tmp_path / "train" / inner)
    dataset = dataset_of_channels(tmp_path)
    assert (len(dataset.train), len(dataset.validation)) == (6, 2)
    sample = dataset.train[0]
    assert sample.image.name == f"{sample.group}_01.jpg"
    assert sample.mask is not None
    assert sample.mask.name == f"{sample.group}_01_mask.gif"


def test_an_image_without_its_mask_in_one_folder(tmp_path: Path) -> None:
    touch(mix(tmp_path / "train"), f"{car_id(7)}_01.jpg")
    with pytest.raises(DataError, match=rf"(?s)1 of 9 images in .*train have no mask.*{car_id(7)}_01\.jpg"):
        dataset_of_channels(tmp_path)


def test_images_and_masks_in_the_channel(tmp_path: Path) -> None:
    touch(tmp_path, *(f"train/images/{car_id(car)}_01.jpg" for car in range(2)))
    touch(tmp_path, *(f"train/masks/{car_id(car)}_01_mask.gif" for car in range(2)))
    assert groups(dataset_of_channels(tmp_path)) in (
        {"train": {car_id(0)}, "validation": {car_id(1)}},
        {"train": {car_id(1)}, "validation": {car_id(0)}},
    )


def test_cars_on_both_sides_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    carvana_tree(tmp_path, cars=3)
    carvana_tree(tmp_path, cars=2, first_car=2, split="validation")
    assert len(dataset_of_channels(tmp_path).validation) == 4
    (message,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert f"1 of the 2 cars in validation are also in train, so its metrics will be too good: {car_id(2)}." in message
    assert "Keep all views of a car in one split" in message


def test_cars_that_are_kept_apart_are_not_spoken_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    carvana_tree(tmp_path, cars=2)
    dataset = dataset_of_channels(carvana_tree(tmp_path, cars=2, first_car=2, split="validation"))
    assert groups(dataset) == {"train": {car_id(0), car_id(1)}, "validation": {car_id(2), car_id(3)}}
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_validation_must_have_masks(tmp_path: Path) -> None:
    carvana_tree(tmp_path, cars=2)
    touch(tmp_path, f"validation/{car_id(5)}_01.jpg")
    with pytest.raises(DataError, match="no masks for the validation images"):
        dataset_of_channels(tmp_path)


def test_other_images_are_not_carvanas(tmp_path: Path) -> None:
    touch(tmp_path, "train/scene_01.jpg", "train/00087a6bd4dc_01.jpg", "train_masks/scene_01.png")
    inputs = Inputs(find_splits({path.name: path for path in tmp_path.iterdir()}))
    assert not Carvana().matches(inputs)
    with pytest.raises(InputError, match=r"(?s)data_layout=carvana, but .*2 × \.jpg.*0cdf5b5d0ce1_01_mask\.gif"):
        dataset_of_channels(tmp_path, layout="carvana")


def test_one_folder_to_measure_on(tmp_path: Path) -> None:
    carvana_tree(tmp_path, cars=2)
    assert len(read_folder(tmp_path / "train", "segmentation", [])) == 4
    assert len(read_folder(mix(tmp_path / "mixed"), "segmentation", [])) == 8


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "cars"), [("carvana", (12, 4)), ("carvana-thumbnails", (254, 64))])
def test_the_real_ones(shared_data: Path, name: str, cars: tuple[int, int]) -> None:
    dataset = dataset_of_channels(shared_data / name)
    found = groups(dataset)
    assert (len(found["train"]), len(found["validation"])) == cars
    assert not found["train"] & found["validation"]
    assert None not in found["train"] | found["validation"]
