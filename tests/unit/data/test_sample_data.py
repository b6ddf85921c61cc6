"""The drawn sets: exact, repeatable, and laid out as channels."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from byoc_vision.data.decoding import read_image, read_mask
from byoc_vision.data.formats import find_dataset
from byoc_vision.data.preflight import check
from byoc_vision.data.sample_data import (
    SHAPES,
    draw_scene,
    draw_shape,
    make_classification_set,
    make_sample_data,
    make_segmentation_set,
)
from byoc_vision.data.samples import DataOptions
from byoc_vision.types import ClassInfo


def digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def channels(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in folder.iterdir()}


def test_the_segmentation_set_is_read_as_it_is(tmp_path: Path) -> None:
    make_segmentation_set(tmp_path, count_train=6, count_validation=3, size=64)
    assert sorted(channels(tmp_path)) == ["train", "train_annotation", "validation", "validation_annotation"]
    dataset, report = check(find_dataset(channels(tmp_path), DataOptions()), DataOptions())
    assert dataset.classes == (ClassInfo("background", 0), ClassInfo("foreground", 255))
    assert report.samples == {"train": 6, "validation": 3}
    assert (report.height.maximum, report.width.maximum) == (48, 64)


def test_the_classification_set_is_read_as_it_is(tmp_path: Path) -> None:
    make_classification_set(tmp_path, count_train=8, count_validation=4, size=32)
    dataset, report = check(find_dataset(channels(tmp_path), DataOptions()), DataOptions())
    assert dataset.class_names == SHAPES
    assert Counter(sample.label for sample in dataset.train) == {label: 2 for label in range(4)}
    assert report.samples == {"train": 8, "validation": 4}
    assert report.width.maximum == 32


def test_a_seed_is_a_set_of_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        make_segmentation_set(tmp_path / name, 2, 1, size=48, seed=seed)
        make_classification_set(tmp_path / name / "classes", 4, 4, size=32, seed=seed)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert not set(digest(tmp_path / "a").values()) & set(digest(tmp_path / "c").values())


def test_a_larger_set_begins_with_the_smaller(tmp_path: Path) -> None:
    make_segmentation_set(tmp_path / "small", 2, 1, size=48)
    make_segmentation_set(tmp_path / "large", 4, 2, size=48)
    assert digest(tmp_path / "small").items() <= digest(tmp_path / "large").items()


def test_both_sets_in_their_folders(tmp_path: Path) -> None:
    make_sample_data(tmp_path, seed=3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["classification", "segmentation"]
    assert len(list((tmp_path / "segmentation/train").iterdir())) == 160
    assert len(list((tmp_path / "segmentation/validation_annotation").iterdir())) == 40
    assert len(list((tmp_path / "classification/train").rglob("*.jpg"))) == 400
    assert sorted(path.name for path in (tmp_path / "classification/validation").iterdir()) == list(SHAPES)


@pytest.mark.parametrize("seed", range(8))
def test_masks_are_exact(seed: int) -> None:
    image, mask = draw_scene(96, 128, np.random.default_rng(seed))
    assert image.shape == (96, 128, 3)
    assert mask.shape == (96, 128)
    assert set(np.unique(mask)) == {0, 255}
    assert 0.02 < (mask == 255).mean() < 0.8
    # What is saturated in the image is the foreground, but for windows and wheels.
    saturation = cv2.cvtColor(cv2.medianBlur(image, 5), cv2.COLOR_RGB2HSV)[:, :, 1].astype(int)
    saturation *= cv2.medianBlur(image, 5).max(axis=2) > 60
    inside = cv2.erode(mask, np.ones((5, 5), np.uint8)) == 255
    outside = cv2.dilate(mask, np.ones((7, 7), np.uint8)) == 0
    assert np.median(saturation[inside]) > 90
    assert np.quantile(saturation[outside], 0.95) < 120


def test_files_hold_what_was_drawn(tmp_path: Path) -> None:
    make_segmentation_set(tmp_path, 1, 1, size=64, seed=5)
    image, mask = draw_scene(48, 64, np.random.default_rng((5, 0, 0)))
    np.testing.assert_array_equal(read_mask(tmp_path / "train_annotation/scene_0000.png"), mask)
    stored = read_image(tmp_path / "train/scene_0000.jpg")
    assert np.abs(stored.astype(int) - image).mean() < 8


def test_colours_do_not_tell_shapes_apart() -> None:
    def mean_hue(shape: str) -> float:
        images = [draw_shape(shape, 32, np.random.default_rng((9, seed))) for seed in range(40)]
        hues = np.array([cv2.cvtColor(image, cv2.COLOR_RGB2HSV)[16, 16, 0] for image in images]) * np.pi / 90
        return float(np.abs(np.exp(1j * hues).mean()))

    assert all(mean_hue(shape) < 0.4 for shape in SHAPES)
