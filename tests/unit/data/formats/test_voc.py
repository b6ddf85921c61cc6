"""The folders of Pascal VOC: images without masks are left out, lists define the splits, 255 is the border."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.images import save_image
from support.trees import dataset_of

from byoc_vision.data.samples import Sample
from byoc_vision.errors import DataError


def stems(samples: tuple[Sample, ...]) -> list[str]:
    return [sample.image.name.removesuffix(".jpg") for sample in samples]


@pytest.fixture(params=["", "VOCdevkit/VOC2012/"])
def voc(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Ten images, eight of them with masks of the classes 0 and 15 and the border 255."""
    mask = np.zeros((12, 12), np.uint8)
    mask[2:8, 2:8], mask[2, 2:8] = 15, 255
    for index in range(10):
        save_image(tmp_path / request.param / f"JPEGImages/{index}.jpg", np.full((12, 12, 3), 20 * index, np.uint8))
        if index < 8:
            save_image(tmp_path / request.param / f"SegmentationClass/{index}.png", mask)
    return tmp_path / str(request.param)


def write_list(voc: Path, name: str, *lines: str) -> None:
    path = voc / "ImageSets/Segmentation" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines), encoding="utf-8")


def test_without_lists(voc: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dataset = dataset_of(tmp_path)
    assert sorted(stems(dataset.train + dataset.validation)) == [str(index) for index in range(8)]
    assert dataset.ignore_value == 255
    assert "without a mask, which are not read: 2" in caplog.text


def test_lists_define_the_splits(voc: Path, tmp_path: Path) -> None:
    write_list(voc, "train.txt", "3", "1", "5")
    write_list(voc, "val.txt", "2", "4")
    write_list(voc, "test.txt", "8", "9")  # as published: without masks
    dataset = dataset_of(tmp_path)
    assert (stems(dataset.train), stems(dataset.validation)) == (["3", "1", "5"], ["2", "4"])
    assert dataset.test == ()


def test_names_without_files_are_all_named(voc: Path, tmp_path: Path) -> None:
    write_list(voc, "train.txt", "1", "seven")
    write_list(voc, "val.txt", "9")
    with pytest.raises(DataError) as raised:
        dataset_of(tmp_path)
    assert "train.txt, line 2: there is no image with a mask named 'seven'" in str(raised.value)
    assert "val.txt, line 1: there is no image with a mask named '9'" in str(raised.value)


def test_255_of_binary_masks_is_not_a_border(voc: Path, tmp_path: Path) -> None:
    for path in (voc / "SegmentationClass").iterdir():
        save_image(path, np.repeat(np.array([[0], [255]], np.uint8), 12, axis=1).repeat(6, axis=0))
    assert dataset_of(tmp_path).ignore_value is None
