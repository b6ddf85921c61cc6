"""Random parts of images, resized: their area, their proportions, their place, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from byoc_vision.data.resized_crop import ResizedCrop


def ramps(height: int, width: int) -> np.ndarray:
    """The first channel grows with the row, the second with the column, the third is 7."""
    rows = np.repeat(np.linspace(0, 250, height)[:, None], width, 1)
    columns = np.repeat(np.linspace(0, 250, width)[None], height, 0)
    return np.stack([rows, columns, np.full_like(rows, 7)], 2).astype(np.uint8)


def part_of(crop: np.ndarray) -> tuple[float, float]:
    """The shares of the height and of the width that a crop of `ramps` has."""
    return tuple(float(np.ptp(crop[..., channel])) / 250 for channel in (0, 1))  # type: ignore[return-value]


def test_areas_and_proportions_vary_within_their_bounds() -> None:
    image, areas, ratios = ramps(200, 300), [], []
    for seed in range(100):
        crop, target = ResizedCrop(60, 90, 0.35)(image, None, seed)
        assert (crop.shape, crop.dtype, target) == ((60, 90, 3), np.uint8, None)
        assert (crop[..., 2] == 7).all()
        height, width = part_of(crop)
        areas.append(height * width)
        ratios.append(width / height)
    assert 0.3 < min(areas) < 0.45
    assert max(areas) > 0.9
    assert 0.7 < min(ratios) < 0.85
    assert 1.18 < max(ratios) < 1.4


@pytest.mark.parametrize("shape", [(40, 160), (160, 40), (100, 100)])
def test_an_area_of_one_is_the_largest_part_with_the_proportions(shape: tuple[int, int]) -> None:
    starts = set()
    for seed in range(10):
        crop, _ = ResizedCrop(32, 32)(ramps(*shape), None, seed)
        height, width = part_of(crop)
        assert height * shape[0] == pytest.approx(width * shape[1], rel=0.1)
        assert max(height, width) > 0.9
        starts.add((int(crop[0, 0, 0]), int(crop[0, 0, 1])))
    assert (len(starts) > 3) == (shape[0] != shape[1]), "at a random place if there is room"


def test_a_seed_is_a_result() -> None:
    image, crop = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8), ResizedCrop(32, 32, 0.3)
    np.testing.assert_array_equal(crop(image, None, 5)[0], crop(image, None, 5)[0])
    assert (crop(image, None, 5)[0] != crop(image, None, 6)[0]).any()


@pytest.mark.parametrize("shape", [(8, 400, 3), (1, 1, 3), (9, 9, 7)])
def test_any_shape_and_number_of_bands(shape: tuple[int, ...]) -> None:
    for seed in range(10):
        crop, _ = ResizedCrop(16, 24, 0.1)(np.full(shape, 9, np.uint8), None, seed)
        assert crop.shape == (16, 24, shape[2])
        assert (crop == 9).all()
