"""CamVid's streets: with the lists of SegNet, and as channels."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.datasets import camvid_tree
from support.trees import dataset_of, touch

from byoc_vision.data.formats import find_dataset, read_folder
from byoc_vision.data.formats.camvid import CLASSES
from byoc_vision.data.samples import DataOptions
from byoc_vision.errors import DataError
from byoc_vision.types import ClassInfo


@pytest.mark.parametrize("outer", ["", "CamVid/"])
def test_the_whole_tree_in_one_channel(tmp_path: Path, outer: str) -> None:
    camvid_tree(tmp_path / outer)
    dataset = dataset_of(tmp_path)
    assert {split: len(samples) for split, samples in dataset.splits.items()} == {
        "train": 4,
        "validation": 2,
        "test": 2,
    }
    assert dataset.classes == tuple(ClassInfo(name, value) for value, name in enumerate(CLASSES))
    assert (dataset.class_names[5], dataset.class_names[8]) == ("tree", "car")
    assert (len(dataset.classes), dataset.ignore_value) == (11, 11)
    assert all(s.mask == Path(str(s.image).replace("/test/", "/testannot/")) for s in dataset.test)


def test_a_list_says_which_files_are_used(tmp_path: Path) -> None:
    camvid_tree(tmp_path)
    lines = (tmp_path / "train.txt").read_text().splitlines()
    (tmp_path / "train.txt").write_text(f"{lines[2]}\n\n{lines[0]}\n")
    names = [Path(line.split()[0]).name for line in lines]
    assert [sample.image.name for sample in dataset_of(tmp_path).train] == [names[2], names[0]]


def test_without_lists_all_files_are_used(tmp_path: Path) -> None:
    camvid_tree(tmp_path)
    for path in tmp_path.glob("*.txt"):
        path.unlink()
    assert [len(samples) for samples in dataset_of(tmp_path).splits.values()] == [4, 2, 2]


def test_lines_that_do_not_fit_are_all_named(tmp_path: Path) -> None:
    camvid_tree(tmp_path)
    with (tmp_path / "val.txt").open("a") as file:
        file.write("/SegNet/CamVid/val/0016E5_99999.png /SegNet/CamVid/valannot/0016E5_99999.png\n0016E5_00001.png\n")
    with pytest.raises(DataError) as raised:
        dataset_of(tmp_path)
    text = str(raised.value)
    assert f"{tmp_path}/val.txt, line 3: there is no val/0016E5_99999.png and no valannot/0016E5_99999.png" in text
    assert f"{tmp_path}/val.txt, line 4: expected an image's path, a space, and its mask's path" in text
    assert "fix it, or remove it to read all images" in text


def test_an_empty_list(tmp_path: Path) -> None:
    camvid_tree(tmp_path)
    (tmp_path / "train.txt").write_text("\n")
    with pytest.raises(DataError, match=r"train\.txt names no images"):
        dataset_of(tmp_path)


def test_channels_of_their_own(tmp_path: Path) -> None:
    touch(tmp_path, "train/0001TP_006690.jpg", "train_annotation/0001TP_006690.png")
    touch(tmp_path, "validation/Seq05VD_f00030.jpg", "validation_annotation/Seq05VD_f00030.png")
    dataset = find_dataset({path.name: path for path in tmp_path.iterdir()}, DataOptions())
    assert dataset.class_names == CLASSES
    assert [len(samples) for samples in dataset.splits.values()] == [1, 1]


def test_void_may_have_another_value(tmp_path: Path) -> None:
    assert dataset_of(camvid_tree(tmp_path), ignore_index=255).ignore_value == 255


def test_other_streets_are_not_camvids(tmp_path: Path) -> None:
    touch(tmp_path, *(f"train/images/{n}.jpg" for n in "12"), *(f"train/masks/{n}.png" for n in "12"))
    assert find_dataset({"train": tmp_path / "train"}, DataOptions()).classes == ()


def test_one_folder_to_measure_on(tmp_path: Path) -> None:
    camvid_tree(tmp_path)
    for folder in (tmp_path, tmp_path / "test"):
        samples = read_folder(folder, "segmentation", [])
        assert {Path(str(sample.mask)).parent for sample in samples} == {tmp_path / "testannot"}


@pytest.mark.real_data
def test_the_real_one(shared_data: Path) -> None:
    channels = {path.name: path for path in (shared_data / "camvid").iterdir()}
    dataset = find_dataset(channels, DataOptions())
    assert (len(dataset.train), len(dataset.validation), dataset.ignore_value) == (367, 101, 11)
    assert dataset.class_names == CLASSES
