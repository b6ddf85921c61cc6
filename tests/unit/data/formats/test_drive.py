"""Retina images as in DRIVE: the manual masks are the labels, the field of view says which pixels count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.images import save_image
from support.trees import touch

from byoc_vision.data.formats import find_dataset, read_folder
from byoc_vision.data.samples import DataOptions, Dataset
from byoc_vision.data.targets import read_mask_values
from byoc_vision.errors import DataError
from byoc_vision.types import ClassInfo

VESSEL, VIEW = (slice(4, 6), slice(0, 12)), (slice(2, 10), slice(2, 10))


def marked(*place: slice) -> np.ndarray:
    """A mask of 12 × 12 pixels with 255 in one place."""
    mask = np.zeros((12, 12), np.uint8)
    mask[place] = 255
    return mask


def write_split(folder: Path, numbers: range, kind: str, *, manual: bool = True, view: bool = True) -> None:
    for number in numbers:
        save_image(folder / f"images/{number}_{kind}.tif", np.full((12, 12, 3), number, np.uint8))
        if manual:
            save_image(folder / f"1st_manual/{number}_manual1.gif", marked(*VESSEL))
        if view:
            save_image(folder / f"mask/{number}_{kind}_mask.gif", marked(*VIEW))


def find(root: Path, **options: Any) -> Dataset:
    return find_dataset({"train": root}, DataOptions(**options))


@pytest.mark.parametrize("outer", ["", "DRIVE/"])
def test_pixels_outside_of_the_view_are_ignored(tmp_path: Path, outer: str) -> None:
    write_split(tmp_path / f"{outer}training", range(21, 26), "training")
    write_split(tmp_path / f"{outer}test", range(1, 3), "test")
    dataset = find(tmp_path)
    assert (dataset.task, dataset.class_names, dataset.ignore_value) == (
        "segmentation",
        ("background", "foreground"),
        255,
    )
    assert [len(samples) for samples in dataset.splits.values()] == [4, 1, 2]
    expected = np.full((12, 12), 255, np.uint8)
    expected[VIEW] = 0
    expected[4:6, :] = 1  # a person may draw outside of the view
    for sample in dataset.train + dataset.test:
        np.testing.assert_array_equal(read_mask_values(sample), expected)


def test_without_a_field_of_view_all_pixels_count(tmp_path: Path) -> None:
    write_split(tmp_path, range(5), "training", view=False)
    assert set(np.unique(read_mask_values(find(tmp_path).train[0]))) == {0, 1}


def test_a_published_test_split_has_no_manual_masks(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_split(tmp_path / "training", range(21, 26), "training")
    write_split(tmp_path / "test", range(1, 3), "test", manual=False)
    assert not find(tmp_path).test
    assert f"{tmp_path}/test holds no manual masks, so the test split is not read" in caplog.text


def test_masks_of_a_second_person_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_split(tmp_path, range(5), "test")
    touch(tmp_path, *(f"2nd_manual/{number}_manual2.gif" for number in range(5)))
    assert {sample.further_masks[0].parent.name for sample in find(tmp_path).train} == {"1st_manual"}
    assert f"{tmp_path}/2nd_manual holds other masks of the same images, which are not read" in caplog.text


def test_images_without_a_mask_are_named(tmp_path: Path) -> None:
    write_split(tmp_path, range(5), "training")
    (tmp_path / "1st_manual/3_manual1.gif").unlink()
    with pytest.raises(
        DataError, match=r"images without a mask in .*1st_manual or in .*mask, the field of view"
    ) as said:
        find(tmp_path)
    assert "images/3_training.tif" in str(said.value)
    assert len(find(tmp_path, on_bad_sample="skip").train) == 3


def test_a_model_keeps_its_labels(tmp_path: Path) -> None:
    write_split(tmp_path, range(2), "test")
    samples = read_folder(tmp_path, "segmentation", [ClassInfo("background", 0), ClassInfo("vessel", 7)])
    assert set(np.unique(read_mask_values(samples[0]))) == {0, 7, 255}


def test_classes_of_such_names_are_classes(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{name}/{name}{n}.png" for name in ("image", "manual", "letter") for n in range(3)))
    assert find(tmp_path).class_names == ("image", "letter", "manual")
