"""Kaggle's CSV files of run lengths: the columns, the order of pixels, classes, images without a mask, wrong lines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.datasets import car_id
from support.drawn import HEIGHT, WIDTH, checked, labels, names, save_images

from byoc_vision.data.formats import find_dataset
from byoc_vision.data.samples import DataOptions
from byoc_vision.errors import DataError

FILES = [f"{index}.jpg" for index in range(6)]


def write(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_severstal_counts_down_the_columns(tmp_path: Path) -> None:
    """Class 1 is the first column, class 3 the rows 1 and 2 of the next one; pixels are numbered from 1."""
    save_images(tmp_path / "train_images", FILES)
    rows = [f"{name},{label},{runs}" for name in FILES for label, runs in ((1, "1 32"), (3, f"{HEIGHT + 1} 2"))]
    write(tmp_path / "train.csv", "ImageId,ClassId,EncodedPixels", *rows)
    dataset = checked(tmp_path)
    assert names(dataset) == ["background", "class_1", "class_3"]
    mask = labels(dataset)
    assert (mask[:, 0] == 1).all()
    assert mask[:3, 1].tolist() == [2, 2, 0]
    assert np.count_nonzero(mask) == HEIGHT + 2


def test_the_older_severstal_names_the_class_after_the_image(tmp_path: Path) -> None:
    save_images(tmp_path / "train_images", FILES)
    rows = [f"{name}_{label},{'5 3' if label == 2 else ''}" for name in FILES for label in (1, 2, 3, 4)]
    write(tmp_path / "train.csv", "ImageId_ClassId,EncodedPixels", *rows)
    assert names(checked(tmp_path)) == ["background", "class_2"]


def test_airbus_has_a_line_for_each_ship_and_empty_ones(tmp_path: Path) -> None:
    save_images(tmp_path / "train_v2", FILES)
    rows = [f"{name},{runs}" for name in FILES[:5] for runs in ("1 2", "40 3")]
    write(tmp_path / "train_ship_segmentations_v2.csv", "ImageId,EncodedPixels", *rows, f"{FILES[5]},")
    dataset = checked(tmp_path)
    assert names(dataset) == ["background", "foreground"]
    counts = {int(np.count_nonzero(labels(dataset, lambda image, f=file: image.name == f))) for file in FILES
              if any(one.image.name == file for one in dataset.train)}  # fmt: skip
    assert counts <= {0, 5}
    assert 5 in counts


def test_carvana_counts_along_the_rows_and_keeps_its_cars_together(tmp_path: Path) -> None:
    stems = [f"{car_id(car)}_{view:02}" for car in range(4) for view in (1, 2)]
    save_images(tmp_path / "train", [f"{stem}.jpg" for stem in stems])
    write(tmp_path / "train_masks.csv", "img,rle_mask", *(f"{stem}.jpg,1 {WIDTH} {2 * WIDTH + 1} 4" for stem in stems))
    write(tmp_path / "sample_submission.csv", "img,rle_mask", "x.jpg,1 1")
    dataset = checked(tmp_path)
    mask = labels(dataset)
    assert (mask[0] == 1).all()
    assert not mask[1].any()
    assert mask[2, :5].tolist() == [1, 1, 1, 1, 0]
    assert {one.group for one in dataset.train}.isdisjoint(one.group for one in dataset.validation)


def test_wrong_lines_are_all_named(tmp_path: Path) -> None:
    save_images(tmp_path / "train_images", FILES)
    good = [f"{name},{1 if name != '2.jpg' else 99999} 5" for name in FILES]
    write(tmp_path / "train.csv", "ImageId,EncodedPixels", *good, "9.jpg,1 2", "0.jpg,1 2 3", "1.jpg,a b")
    with pytest.raises(DataError) as raised:
        checked(tmp_path)
    for problem in (
        "train.csv, line 8: there is no image '9.jpg'",
        "train.csv, line 9: run lengths are starts and lengths in turn, whole numbers, not '1 2 3'",
        "train.csv, line 10: run lengths are starts and lengths in turn, whole numbers, not 'a b'",
        "train.csv, image 2.jpg, shape 1: the run 99999 5 lies outside of 1,536 pixels",
    ):
        assert problem in str(raised.value)
    assert len(find_dataset({"train": tmp_path}, DataOptions(on_bad_sample="skip")).train) == 5


def test_runs_outside_of_the_image_are_named_by_the_check(tmp_path: Path) -> None:
    save_images(tmp_path / "train_images", FILES)
    rows = [f"{name},{1 if name != '2.jpg' else 99999} 5" for name in FILES]
    write(tmp_path / "train.csv", "ImageId,EncodedPixels", *rows)
    with pytest.raises(
        DataError, match=r"train.csv, image 2.jpg, shape 1: the run 99999 5 lies outside of 1,536 pixels"
    ):
        checked(tmp_path)
