"""Tiles that cover an image, and their blend, against a sum over the whole image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from byoc_vision.inference.postprocess import logit
from byoc_vision.inference.tiling import OVERLAP, Axis, Blender, Grid, LabelAccumulator, ProbabilityAccumulator

LENGTHS = st.integers(1, 200)
TILES = st.integers(4, 64)
FEW = settings(max_examples=25, deadline=None)


class Sheet:
    """All logits of all classes, and how often each was stored."""

    def __init__(self, grid: Grid) -> None:
        self.logits = np.full((grid.planes, grid.rows.length, grid.columns.length), np.nan, np.float32)
        self.times = np.zeros(self.logits.shape, int)

    def put(self, index: int, top: int, left: int, logits: np.ndarray) -> None:
        cell = (index, slice(top, top + logits.shape[0]), slice(left, left + logits.shape[1]))
        self.logits[cell] = logits
        self.times[cell] += 1


@given(LENGTHS, TILES)
@FEW
def test_tiles_cover_a_side_and_overlap(length: int, tile: int) -> None:
    axis = Axis(length, tile)
    covered = np.zeros(axis.length, int)
    for start in axis.starts:
        covered[start : start + tile] += 1
    assert covered.min() >= 1
    assert axis.starts[0] == 0
    assert axis.starts[-1] + tile == axis.length == max(length, tile)
    assert sum(axis.step(index) for index in range(len(axis))) == axis.length
    # A pixel is lost if the tile is not a multiple of 4, and another if starts are rounded.
    assert all(tile - axis.step(index) >= OVERLAP * tile - 1 for index in range(len(axis) - 1))


@given(LENGTHS, TILES)
@FEW
def test_the_weights_of_all_tiles_sum_to_one(length: int, tile: int) -> None:
    axis = Axis(length, tile)
    total = np.zeros(axis.length)
    for start, weights in zip(axis.starts, axis.weights, strict=True):
        assert (weights > 0).all()
        total[start : start + tile] += weights
    np.testing.assert_allclose(total, 1, rtol=1e-5)


@given(LENGTHS, LENGTHS, TILES, TILES, st.sampled_from([1, 3]), st.sampled_from([0, 10_000, 2**28]))
@FEW
def test_the_blend_is_the_weighted_mean_of_all_tiles_at_each_pixel(
    height: int, width: int, tile_height: int, tile_width: int, planes: int, stripe_bytes: int
) -> None:
    grid = Grid(Axis(height, tile_height), Axis(width, tile_width), planes, stripe_bytes)
    random = np.random.default_rng(height * 1000 + width)
    shape = (len(grid.rows), len(grid.columns), planes, tile_height, tile_width)
    tiles = random.normal(size=shape).astype(np.float32)
    sheet = Sheet(grid)
    blender = Blender(grid, sheet)
    for position in grid.positions:
        blender.add(position, iter(tiles[position.row, position.column]))
    assert (sheet.times == 1).all()

    expected = np.zeros(sheet.logits.shape)
    for row, top in enumerate(grid.rows.starts):
        for column, left in enumerate(grid.columns.starts):
            weights = np.outer(grid.rows.weights[row], grid.columns.weights[column])
            expected[:, top : top + tile_height, left : left + tile_width] += weights * tiles[row, column]
    np.testing.assert_allclose(sheet.logits, expected, atol=1e-5)


@given(LENGTHS, LENGTHS, TILES)
@FEW
def test_constant_logits_do_not_change(height: int, width: int, tile: int) -> None:
    grid = Grid(Axis(height, tile), Axis(width, tile), 1)
    sheet = Sheet(grid)
    blender = Blender(grid, sheet)
    for position in grid.positions:
        blender.add(position, [np.full((tile, tile), 3, np.float32)])
    np.testing.assert_allclose(sheet.logits, 3, rtol=1e-5)


def test_a_small_image_is_mirrored_up_to_the_tile() -> None:
    grid = Grid(Axis(2, 5), Axis(3, 4), 1)
    rgb = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    (position,) = grid.positions
    tile = grid.crop(rgb, position)
    assert tile.shape == (5, 4, 3)
    np.testing.assert_array_equal(tile[:2, :3], rgb)
    np.testing.assert_array_equal(tile[:2, 3], rgb[:, 2])
    np.testing.assert_array_equal(tile[2, :3], rgb[1])


@pytest.mark.parametrize(("planes", "tile"), [(1, 512), (21, 512), (254, 256), (254, 512)])
def test_a_hundred_megapixels_are_blended_in_bounded_memory(planes: int, tile: int) -> None:
    grid = Grid(Axis(10_000, tile), Axis(10_000, tile), planes)
    whole = planes * 10_000 * 10_000 * 4
    assert grid.blending_bytes < min(whole / 4, 2**29)
    alone = len(grid.rows) * len(grid.columns)
    assert len(grid.positions) <= 1.3 * alone  # a panel's last column is computed again for the next


HEIGHT, WIDTH = 7, 5
CELLS = ((0, 0, 4, 3), (0, 3, 4, 4), (4, 0, 5, 3), (4, 3, 5, 4))  # top, left, height, width: beyond the edges, too


def fill(canvas: LabelAccumulator, logits: np.ndarray) -> None:
    padded = np.pad(logits, ((0, 0), (0, 2), (0, 2)), constant_values=99)
    for top, left, height, width in CELLS:
        for index, plane in enumerate(padded):
            canvas.put(index, top, left, plane[top : top + height, left : left + width])


@given(arrays(np.float32, (3, HEIGHT, WIDTH), elements=st.floats(-9, 9, width=32)))
@FEW
def test_the_highest_logit_of_several_classes_decides(logits: np.ndarray) -> None:
    canvas = ProbabilityAccumulator(HEIGHT, WIDTH, planes=3, logit_threshold=None)
    fill(canvas, logits)
    np.testing.assert_array_equal(canvas.labels, logits.argmax(axis=0))
    powers = np.exp(logits.astype(float))
    np.testing.assert_allclose(canvas.probabilities(), powers / powers.sum(axis=0), atol=1e-5)


@given(arrays(np.float32, (1, HEIGHT, WIDTH), elements=st.floats(-9, 9, width=32)), st.floats(0.01, 0.99))
@FEW
def test_a_single_logit_is_compared_with_the_threshold(logits: np.ndarray, threshold: float) -> None:
    canvas = ProbabilityAccumulator(HEIGHT, WIDTH, planes=1, logit_threshold=logit(threshold))
    fill(canvas, logits)
    np.testing.assert_array_equal(canvas.labels, logits[0] > np.log(threshold / (1 - threshold)))
    positive = 1 / (1 + np.exp(-logits[0].astype(float)))
    np.testing.assert_allclose(canvas.probabilities(), [1 - positive, positive], atol=1e-5)


@pytest.mark.parametrize(("probability", "expected"), [(0.5, 0), (0.731058578, 1)])
def test_the_logit_of_a_probability(probability: float, expected: float) -> None:
    assert logit(probability) == pytest.approx(expected)
