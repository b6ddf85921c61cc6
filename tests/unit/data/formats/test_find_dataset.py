"""From folders to datasets. No file is opened here, so empty files stand for images."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from support.datasets import (
    camvid_tree,
    carvana_tree,
    class_folders_tree,
    oxford_pets_tree,
    polyvore_tree,
    semantic_segmentation_tree,
)
from support.trees import dataset_of_channels, image_mask_paths, touch

from byoc_vision.data.formats import find_dataset, read_folder
from byoc_vision.data.samples import DataFormatName, DataOptions
from byoc_vision.errors import DataError, InputError
from byoc_vision.types import ClassInfo


class TestChannels:
    def test_the_training_channel_must_be_there(self, tmp_path: Path) -> None:
        with pytest.raises(InputError) as raised:
            dataset_of_channels(touch(tmp_path, "validation/a/1.jpg", "images/1.jpg"))
        assert f"channel 'train' is missing in {tmp_path} (channels given: images, validation)" in str(raised.value)
        assert "train_annotation/" in str(raised.value)
        with pytest.raises(InputError, match="channels given: none"):
            find_dataset({}, DataOptions())

    def test_a_channel_must_be_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="is not a folder"):
            find_dataset({"train": tmp_path / "gone"}, DataOptions())

    def test_an_empty_channel(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="train is empty"):
            find_dataset({"train": touch(tmp_path / "train", ".keep")}, DataOptions())

    def test_the_sdks_name_for_a_lone_channel(self, tmp_path: Path) -> None:
        touch(tmp_path, "a/1.jpg", "a/2.jpg", "b/3.jpg", "b/4.jpg")
        assert find_dataset({"training": tmp_path}, DataOptions()).class_names == ("a", "b")

    def test_other_channels_are_mentioned_except_those_of_another_use(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        touch(tmp_path, "train/a/1.jpg", "train/b/2.jpg", "validation/a/3.jpg", "extra/1.jpg")
        dataset_of_channels(touch(tmp_path, "pretrained/x", "model/x", "code/x.py", "sm_drivers/x.json"))
        assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
            "channels without a known split are not read: extra"
        ]

    @pytest.mark.parametrize("validation", ["validation", "valid", "val"])
    def test_splits_inside_one_channel(self, tmp_path: Path, validation: str) -> None:
        touch(tmp_path, "train/a/1.jpg", "train/b/2.jpg", f"{validation}/a/3.jpg", "test/b/4.jpg", "README.md")
        dataset = find_dataset({"train": tmp_path}, DataOptions())
        assert dataset.class_names == ("a", "b")
        assert [len(samples) for samples in dataset.splits.values()] == [2, 1, 1]

    def test_splits_with_masks_inside_one_channel(self, tmp_path: Path) -> None:
        touch(tmp_path, "train/1.jpg", "train_masks/1_mask.gif", "val/2.jpg", "val_masks/2_mask.gif")
        dataset = find_dataset({"training": tmp_path}, DataOptions())
        assert [len(samples) for samples in dataset.splits.values()] == [1, 1]

    def test_a_class_may_be_called_train(self, tmp_path: Path) -> None:
        """If all splits have it, or if the user says that the folders are classes."""
        touch(tmp_path, *(f"train/{name}/{index}.jpg" for name in ("car", "train") for index in range(2)))
        with pytest.raises(InputError, match=r"train/ as splits, or as classes like car/.*data_layout="):
            dataset_of_channels(tmp_path)
        assert dataset_of_channels(tmp_path, layout="class_folders").class_names == ("car", "train")
        touch(tmp_path, "validation/car/3.jpg", "validation/train/4.jpg")
        assert dataset_of_channels(tmp_path).class_names == ("car", "train")

    def test_a_split_given_twice(self, tmp_path: Path) -> None:
        touch(tmp_path, "train/train/a/1.jpg", "train/validation/a/1.jpg", "validation/a/1.jpg")
        with pytest.raises(InputError, match="both give the validation images; give one of them"):
            dataset_of_channels(tmp_path)
        with pytest.raises(InputError, match="both give the train images"):
            find_dataset({"train": tmp_path, "training": tmp_path / "train"}, DataOptions())


class TestSpreadsheets:
    @pytest.mark.parametrize("images", ["", "pics/"])
    def test_a_table_that_is_not_read_is_named(self, tmp_path: Path, images: str) -> None:
        touch(tmp_path, f"train/{images}1.jpg", f"train/{images}2.jpg", "train/labels.XLSX")
        with pytest.raises(DataError, match=r"labels.XLSX is a table that is not read; save it as CSV"):
            dataset_of_channels(tmp_path)

    def test_it_does_not_disturb_class_folders(self, tmp_path: Path) -> None:
        touch(tmp_path, *(f"train/{name}/{index}.jpg" for name in ("cat", "dog") for index in range(2)))
        touch(tmp_path, "train/notes.xlsx")
        assert dataset_of_channels(tmp_path).class_names == ("cat", "dog")


class TestTask:
    def test_images_alone_are_not_enough(self, tmp_path: Path) -> None:
        touch(tmp_path, "train/1.jpg", "train/2.JPG", "train/labels.csv", "train/other/notes.txt")
        with pytest.raises(DataError) as raised:
            dataset_of_channels(tmp_path)
        text = str(raised.value)
        assert "no known data layout found in" in text
        assert "2 × .jpg, 1 × .csv, other/" in text
        assert text.count("missing: ") == 2
        lacks = "missing: a folder for each class; 2 images lie directly in "
        assert text.index(lacks) < text.index(
            "nearly csv (classification, images listed in CSV files); missing: a column"
        )
        assert "train/labels.csv                  image,label" in text

    @pytest.mark.parametrize(
        ("files", "first", "second"),
        [
            (("1.jpg",), "pictures_and_masks", "class_folders"),
            (("1.jpg", "masks/notes.txt"), "class_folders", "pictures_and_masks"),
            (("1.jpg", "JPEGImages/notes.txt"), "class_folders", "voc"),
        ],
    )
    def test_the_nearest_layout_comes_last(
        self, tmp_path: Path, files: tuple[str, ...], first: str, second: str
    ) -> None:
        touch(tmp_path, *(f"train/{name}" for name in files))
        with pytest.raises(DataError) as raised:
            dataset_of_channels(tmp_path)
        assert re.findall(r"^nearly (\w+)", str(raised.value), re.MULTILINE) == [first, second]

    def test_examples_of_each_split_are_shown(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO")
        dataset_of_channels(touch(tmp_path / "a", "train/x/1.jpg", "train/y/2.jpg", "validation/x/3.jpg"))
        assert "train, for example: train/x/1.jpg is x; train/y/2.jpg is y" in caplog.text
        assert "validation, for example: validation/x/3.jpg is x" in caplog.text
        dataset_of_channels(
            touch(tmp_path / "b", *(f"train/{one}/{n}.png" for one in ("images", "masks") for n in range(5)))
        )
        assert "for example: images/0.png with the mask masks/0.png; images/2.png with the mask masks/" in caplog.text

    def test_a_task_that_does_not_fit(self, tmp_path: Path) -> None:
        folders = touch(tmp_path / "folders", "train/a/1.jpg", "train/b/2.jpg")
        with pytest.raises(InputError, match="task is segmentation, but the data are class folders"):
            dataset_of_channels(folders, task="segmentation")
        masks = touch(tmp_path / "masks", "train/images/1.jpg", "train/masks/1.png")
        with pytest.raises(InputError, match="task is classification, but the data are images with masks"):
            dataset_of_channels(masks, task="classification")


def channels_of(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in folder.iterdir()}


class TestNamedLayout:
    @pytest.mark.parametrize(
        ("name", "make"),
        [
            ("carvana", lambda folder: channels_of(carvana_tree(folder))),
            ("oxford_pets", lambda folder: {"train": oxford_pets_tree(folder)}),
            ("class_folders", lambda folder: {"train": class_folders_tree(folder)}),
            ("polyvore", lambda folder: {"train": polyvore_tree(folder)}),
            ("camvid", lambda folder: {"train": camvid_tree(folder)}),
            ("semantic_segmentation", lambda folder: channels_of(semantic_segmentation_tree(folder, {"scale": 1}))),
        ],
    )
    def test_what_is_recognised_may_be_said_as_well(
        self, tmp_path: Path, name: DataFormatName, make: Callable[[Path], dict[str, Path]]
    ) -> None:
        channels = make(tmp_path)
        found = find_dataset(channels, DataOptions(min_class_count=1))
        assert find_dataset(channels, DataOptions(layout=name, min_class_count=1)) == found
        with pytest.raises(InputError, match=f"data_layout={name}, but .*train holds 1 × .jpg"):
            find_dataset({"train": touch(tmp_path / "other/train", "1.jpg")}, DataOptions(layout=name))

    def test_a_general_layout_may_be_said_of_particular_data(self, tmp_path: Path) -> None:
        dataset = find_dataset({"train": camvid_tree(tmp_path)}, DataOptions(layout="pictures_and_masks"))
        assert (dataset.classes, dataset.ignore_value) == ((), None)

    def test_a_layout_of_another_task(self, tmp_path: Path) -> None:
        options = DataOptions(layout="camvid", task="classification")
        with pytest.raises(InputError, match="data_layout=camvid is for task=segmentation, but task is classification"):
            find_dataset({"train": camvid_tree(tmp_path)}, options)


class TestReadFolder:
    def test_class_folders_take_the_models_labels(self, tmp_path: Path) -> None:
        touch(tmp_path, "cat/1.jpg", "dog/2.jpg")
        classes = [ClassInfo("ant"), ClassInfo("dog"), ClassInfo("cat")]
        samples = read_folder(tmp_path, "classification", classes)
        assert [(sample.image.name, sample.label) for sample in samples] == [("1.jpg", 2), ("2.jpg", 1)]
        with pytest.raises(DataError, match="no class 'dog'"):
            read_folder(tmp_path, "classification", classes[::2])

    def test_images_and_masks(self, tmp_path: Path) -> None:
        touch(tmp_path, "images/1.jpg", "masks/1.png")
        assert len(read_folder(tmp_path, "segmentation", [])) == 1
        with pytest.raises(InputError, match="holds no data for classification"):
            read_folder(tmp_path, "classification", [ClassInfo("a"), ClassInfo("b")])

    def test_masks_beside_the_folder(self, tmp_path: Path) -> None:
        touch(tmp_path, "cars/1.jpg", "cars_masks/1_mask.gif", "other_masks/2.png")
        samples = read_folder(tmp_path / "cars", "segmentation", [])
        assert image_mask_paths(samples, tmp_path) == [("cars/1.jpg", "cars_masks/1_mask.gif")]

    def test_of_several_splits_the_one_kept_apart(self, tmp_path: Path) -> None:
        touch(tmp_path, "train/1.jpg", "train_masks/1.png", "validation/2.jpg", "validation_masks/2.png")
        assert [sample.image.name for sample in read_folder(tmp_path, "segmentation", [])] == ["2.jpg"]
        touch(tmp_path, "test/3.jpg", "test_masks/3.png")
        assert [sample.image.name for sample in read_folder(tmp_path, "segmentation", [])] == ["3.jpg"]


@pytest.mark.real_data
class TestRealData:
    def test_carvana(self, shared_data: Path) -> None:
        dataset = dataset_of_channels(shared_data / "carvana")
        assert dataset.task == "segmentation"
        assert [len(samples) for samples in dataset.splits.values()] == [84, 28]
        assert all(sample.mask and sample.mask.stem == f"{sample.image.stem}_mask" for sample in dataset.train)

    def test_camvid(self, shared_data: Path) -> None:
        dataset = dataset_of_channels(shared_data / "camvid")
        assert [len(samples) for samples in dataset.splits.values()] == [367, 101]

    def test_clothing(self, shared_data: Path) -> None:
        dataset = dataset_of_channels(shared_data / "clothing")
        assert dataset.task == "classification"
        assert len(dataset.classes) == 10
        assert dataset.class_names[0] == "dress"
        assert [len(samples) for samples in dataset.splits.values()] == [3068, 341]


def test_one_class_per_image_may_be_trained_as_several_labels(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat/1.jpg", "train/dog/2.jpg", "validation/dog/3.jpg")
    dataset = find_dataset(
        {"train": tmp_path / "train", "validation": tmp_path / "validation"}, DataOptions(multi_label=True)
    )
    assert dataset.multi_label
    assert [(sample.label, sample.labels) for sample in dataset.train] == [(None, (0,)), (None, (1,))]
    assert dataset.validation[0].labels == (1,)


@pytest.mark.parametrize("name", ["images.zip", "images.tar.gz"])
def test_an_archive_in_a_channel_says_how_to_unpack_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    remedy = f"Unpack {name}, or let `byoc-vision prepare auto --source FOLDER --output CHANNELS` do it."
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / name).write_bytes(b"")
    with pytest.raises((DataError, InputError)) as raised:
        find_dataset({"train": tmp_path / "train"}, DataOptions())
    assert str(raised.value).startswith("no images found in ")
    assert str(raised.value).endswith(remedy)
    for label in ("cat", "dog"):
        for number in range(4):
            image = tmp_path / "train" / label / f"{number}.jpg"
            image.parent.mkdir(exist_ok=True)
            image.write_bytes(b"")
    find_dataset({"train": tmp_path / "train"}, DataOptions())
    assert remedy in caplog.text
