"""What a mask file says, after its map."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.images import encode

from byoc_vision.data.decoding import Content, read_image
from byoc_vision.data.samples import MaskMap, Sample
from byoc_vision.data.targets import read_mask_values
from byoc_vision.errors import DataError


def sample(folder: Path, stored: np.ndarray, mask_map: MaskMap | None = None) -> Sample:
    (folder / "mask.png").write_bytes(encode(stored))
    return Sample(folder / "picture.jpg", folder / "mask.png", mask_map=mask_map)


STORED = np.array([[0, 1, 2], [255, 1, 0]], np.uint8)


def test_without_a_map_the_stored_values_count(tmp_path: Path) -> None:
    assert np.array_equal(read_mask_values(sample(tmp_path, STORED)), STORED)


@settings(max_examples=30)
@given(table=st.lists(st.integers(0, 255), min_size=256, max_size=256))
def test_a_map_says_what_each_value_counts_as(table: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    stored = np.arange(256, dtype=np.uint8).reshape(16, 16)
    mapped = read_mask_values(
        sample(tmp_path_factory.mktemp("mask"), stored, MaskMap("a map", tuple(enumerate(table))))
    )
    assert mapped.dtype == np.uint8
    assert mapped.tolist() == np.reshape(table, (16, 16)).tolist()


def test_values_that_the_map_does_not_know_are_named(tmp_path: Path) -> None:
    mask_map = MaskMap("map.json", ((0, 7), (1, 8)), hint="turn it round")
    with pytest.raises(
        DataError, match=r"mask\.png holds the values 2, 255, which map\.json does not contain; fix the mask"
    ):
        read_mask_values(sample(tmp_path, STORED, mask_map))
    with pytest.raises(DataError, match=r"holds the values 10, 11, 12, 13, 14, 15, …, which"):
        read_mask_values(sample(tmp_path, np.arange(10, 40, dtype=np.uint8)[None], mask_map))


def test_the_hint_is_given_where_values_that_count_are_stored(tmp_path: Path) -> None:
    mask_map = MaskMap("map.json", ((0, 1), (1, 2), (255, 255)), hint="turn it round")
    with pytest.raises(DataError, match=r"holds the values 2, which map\.json does not contain; turn it round"):
        read_mask_values(sample(tmp_path, STORED, mask_map))


def test_a_sample_without_a_mask_is_our_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no mask"):
        read_mask_values(Sample(tmp_path / "picture.jpg", label=1))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_of_stored_pixels_is_turned_like_its_image(tmp_path: Path, kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    stored = np.repeat(np.arange(6, dtype=np.uint8), 16).reshape(6, 16)
    image = Content("1", encode(np.repeat(stored[..., None] * 40, 3, axis=2), kind, exif=exif))
    upright = read_image(image)[..., 0].astype(int)
    turned = read_mask_values(replace(sample(tmp_path, stored), mask_orientation="stored"), image=image)
    assert np.abs(turned * 40 - upright).max() < 20
    by_size = read_mask_values(sample(tmp_path, stored), image=image)
    assert np.array_equal(by_size, turned if orientation >= 5 else stored)
    drawn_upright = replace(sample(tmp_path, turned), mask_orientation="upright")
    assert np.array_equal(read_mask_values(drawn_upright, image=image), turned)
    assert np.array_equal(read_mask_values(sample(tmp_path, turned), image=image), turned)
