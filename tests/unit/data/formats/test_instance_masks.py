"""A folder for each image, with a mask for each object: the target is their union."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.images import save_image
from support.trees import dataset_of

from byoc_vision.data.cache.images import fingerprint
from byoc_vision.data.targets import read_mask_values
from byoc_vision.errors import DataError


@pytest.fixture
def nuclei(tmp_path: Path) -> Path:
    """Five images; the n-th has n + 1 objects of one row each."""
    for image in range(5):
        save_image(tmp_path / f"id{image}/images/id{image}.png", np.full((12, 12, 3), 20 * image, np.uint8))
        for row in range(image + 1):
            mask = np.zeros((12, 12), np.uint8)
            mask[2 * row] = 255
            save_image(tmp_path / f"id{image}/masks/{row}.png", mask)
    return tmp_path


def test_the_union_is_the_target(nuclei: Path) -> None:
    dataset = dataset_of(nuclei)
    assert dataset.task == "segmentation"
    for sample in dataset.train + dataset.validation:
        objects = int(sample.image.name[2]) + 1
        expected = np.zeros((12, 12), np.uint8)
        expected[: 2 * objects : 2] = 255
        np.testing.assert_array_equal(read_mask_values(sample), expected)


def test_a_changed_object_changes_the_cached_sample(nuclei: Path) -> None:
    sample = next(sample for sample in dataset_of(nuclei).train if sample.further_masks)
    before = fingerprint(sample)
    save_image(sample.further_masks[-1], np.full((12, 13), 255, np.uint8))
    assert fingerprint(sample) != before
    with pytest.raises(DataError, match=r"13 × 12 pixels.*export all masks of an image in its size"):
        read_mask_values(sample)


def test_an_image_without_masks(nuclei: Path, caplog: pytest.LogCaptureFixture) -> None:
    (nuclei / "id0/masks/0.png").unlink()
    with pytest.raises(DataError, match="id0: 1 images and 0 masks"):
        dataset_of(nuclei)
    dataset = dataset_of(nuclei, on_bad_sample="skip")
    assert len(dataset.train + dataset.validation) == 4
    assert "left out (on_bad_sample=skip): 1" in caplog.text
