"""`classes.json`: the classes by name, in their order, in a channel by itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.trees import dataset_of_channels, touch

from byoc_vision.data.formats import read_folder
from byoc_vision.data.formats.prepared import CLASSES_FILE
from byoc_vision.errors import DataError
from byoc_vision.types import ClassInfo


def describe(folder: Path, content: object) -> None:
    (folder / CLASSES_FILE).write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture
def masked(tmp_path: Path) -> Path:
    touch(tmp_path, "train/1.jpg", "train/2.jpg", "train_annotation/1.png", "train_annotation/2.png")
    touch(tmp_path, "validation/3.jpg", "validation_annotation/3.png")
    classes = [{"name": "sky", "value": 0}, {"name": "bicyclist", "value": 10}]
    describe(tmp_path / "train", {"classes": classes, "ignore_value": 11})
    return tmp_path


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    touch(tmp_path, "train/Tops_Shirts/1.jpg", "train/Bags/2.jpg", "validation/Tops_Shirts/3.jpg")
    names = [{"name": "Tops/Shirts", "folder": "Tops_Shirts"}, {"name": "Bags", "folder": "Bags"}]
    for split in ("train", "validation"):
        describe(tmp_path / split, {"classes": names})
    return tmp_path


def test_mask_values_have_names(masked: Path) -> None:
    dataset = dataset_of_channels(masked)
    assert dataset.classes == (ClassInfo("sky", 0), ClassInfo("bicyclist", 10))
    assert dataset.ignore_value == 11


def test_a_user_who_ignores_another_value_is_obeyed(masked: Path) -> None:
    dataset = dataset_of_channels(masked, ignore_index=0)
    assert dataset.classes == ()
    assert dataset.ignore_value is None


def test_class_folders_have_names_and_an_order(labelled: Path) -> None:
    dataset = dataset_of_channels(labelled)
    assert dataset.class_names == ("Tops/Shirts", "Bags")
    assert [(sample.image.name, sample.label) for sample in (*dataset.train, *dataset.validation)] == [
        ("2.jpg", 1),
        ("1.jpg", 0),
        ("3.jpg", 0),
    ]


def test_a_model_keeps_its_labels(labelled: Path) -> None:
    classes = (ClassInfo("Bags"), ClassInfo("Tops/Shirts"))
    (sample,) = read_folder(labelled / "validation", "classification", classes)
    assert sample.label == 1


def test_a_folder_that_the_file_does_not_name(labelled: Path) -> None:
    touch(labelled, "validation/Hats/4.jpg")
    with pytest.raises(DataError, match=r"validation/Hats is not in classes.json; prepare the data again, or remove"):
        dataset_of_channels(labelled)


@pytest.mark.parametrize("content", ["{", "[]", '{"classes": [{"value": 1}]}', '{"classes": [], "more": 1}'])
def test_a_file_that_cannot_be_read(content: str, masked: Path) -> None:
    (masked / "train" / CLASSES_FILE).write_text(content)
    with pytest.raises(DataError, match=r"train/classes\.json cannot be read"):
        dataset_of_channels(masked)
