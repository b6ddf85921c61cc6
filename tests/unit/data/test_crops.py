"""Random crops: of image and mask the same part, at the asked size, scale and class; and resized ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc_vision.data.crops import RandomCrop, ResizedCrop
from byoc_vision.preprocess import IGNORED


def ramp(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """An image whose red and green tell each pixel's place, and a mask with the same numbers as red."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    return np.dstack([rows, columns, rows]), rows.copy()


@given(
    st.tuples(st.integers(8, 60), st.integers(8, 60)),
    st.tuples(st.integers(4, 40), st.integers(4, 40)),
    st.tuples(st.floats(0.3, 1), st.floats(1, 3)),
    st.floats(0, 1),
    st.integers(0, 2**32),
)
def test_every_crop_has_the_asked_size_and_the_pixels_of_its_image(
    whole: tuple[int, int], part: tuple[int, int], scale: tuple[float, float], by_class: float, seed: int
) -> None:
    image, mask = ramp(*whole)
    size = (min(part[0], whole[0]), min(part[1], whole[1]))
    cut, labels = RandomCrop(*size, scale, by_class)(image, mask, seed)
    assert labels is not None
    assert (cut.shape, labels.shape) == ((*size, 3), size)
    assert (cut.dtype, labels.dtype) == (np.uint8, np.uint8)
    counted = labels != IGNORED
    assert counted.any()
    assert set(labels[counted]) <= set(range(whole[0]))
    # Nearest labels and averaged colours of a ramp lie at most a source pixel apart, beside mirrored borders.
    inner = counted & np.roll(counted, 1, 0) & np.roll(counted, -1, 0)
    inner[[0, -1]] = False
    step = 1 + size[0] / max(1.0, scale[0] * size[0]) if scale[0] < 1 else 2
    assert np.abs(cut[..., 0].astype(int) - labels)[inner].max(initial=0) <= step + 1


def test_without_scale_and_classes_it_is_the_plain_crop() -> None:
    image, mask = ramp(20, 30)
    cut, labels = RandomCrop(8, 8)(image, mask, 5)
    assert np.array_equal(cut[..., 0], labels)
    down, right = np.random.default_rng(5).random(2)
    assert (cut[0, 0, 0], cut[0, 0, 1]) == (int(down * 13), int(right * 23)), "the place as it always was"


def test_what_is_outside_of_the_image_is_ignored() -> None:
    image, mask = ramp(16, 16)
    _, labels = RandomCrop(16, 16, (0.5, 0.5))(image, mask, 1)
    assert labels is not None
    assert (labels == IGNORED).mean() == pytest.approx(0.75, abs=0.1), "half of each side"


def test_crops_by_class_find_a_small_object() -> None:
    mask = np.zeros((200, 200), np.uint8)
    mask[150:156, 20:26] = 1
    image = np.dstack([mask] * 3)
    found = {}
    for by_class in (0.0, 1.0):
        crops = [RandomCrop(40, 40, (1, 1), by_class)(image, mask, seed)[1] for seed in range(200)]
        found[by_class] = np.mean([(labels == 1).any() for labels in crops])  # type: ignore[attr-defined]
    assert found[0.0] < 0.15
    assert 0.4 < found[1.0] < 0.75, "half of them are around the background, which a few of those contain it too"


def test_a_wholly_ignored_mask_is_cropped_at_random() -> None:
    image, mask = ramp(20, 20)
    _, labels = RandomCrop(8, 8, (0.5, 2), 1.0)(image, np.full_like(mask, IGNORED), 3)
    assert labels is not None
    assert (labels == IGNORED).all()


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
