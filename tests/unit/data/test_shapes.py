"""Masks from polygons and run lengths: pixel for pixel as pycocotools draws them."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_st
from pycocotools import mask as coco

from byoc_vision.data.samples import DrawnMask
from byoc_vision.data.shapes import decode_counts, draw_mask, polygon, run_lengths, runs_from_starts
from byoc_vision.errors import DataError

SIDES = st.integers(1, 80)
MASKS = numpy_st.arrays(np.uint8, st.tuples(SIDES, SIDES), elements=st.integers(0, 1))
SHARES = st.floats(-0.0625, 1.0625, width=32)
POLYGONS = st.lists(st.tuples(SHARES, SHARES), min_size=2, max_size=15)


def drawn(
    height: int, width: int, *outlines: bytes, values: bytes | None = None, is_relative: bool = False
) -> np.ndarray:
    values = bytes([1] * len(outlines)) if values is None else values
    mask = DrawnMask(Path("a.json"), "image 7", values, outlines, size=(height, width), is_relative=is_relative)
    return draw_mask(mask, (height, width))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools'
@given(SIDES, SIDES, POLYGONS, st.booleans())
def test_polygons(height: int, width: int, shares: list[tuple[float, float]], whole: bool) -> None:
    """One point lies in the middle, so that no polygon is outside. Whole coordinates are a case of their own."""
    points = [0.5 * width, 0.5 * height]
    for x, y in shares:
        points += [float(round(x * width)), float(round(y * height))] if whole else [x * width, y * height]
    expected = coco.decode(coco.merge(coco.frPyObjects([points], height, width)))
    assert np.array_equal(drawn(height, width, polygon(points)), expected)


@given(MASKS)
def test_run_lengths(mask: np.ndarray) -> None:
    compressed = coco.encode(np.asfortranarray(mask))["counts"].decode()
    counts = decode_counts(compressed)
    assert np.array_equal(drawn(*mask.shape, run_lengths(compressed, *mask.shape)), mask)
    assert np.array_equal(drawn(*mask.shape, run_lengths(counts.tolist(), *mask.shape)), mask)


@given(MASKS)
def test_starts_and_lengths(mask: np.ndarray) -> None:
    column = np.concatenate(([0], mask.T.ravel(), [0]))
    edges = np.flatnonzero(np.diff(column))
    counts = runs_from_starts(edges[::2].tolist(), (edges[1::2] - edges[::2]).tolist(), mask.size)
    assert np.array_equal(drawn(*mask.shape, run_lengths(counts, *mask.shape)), mask)


def test_several_polygons_of_one_shape_are_its_union_and_later_shapes_are_on_top() -> None:
    left, right = [0, 0, 4, 0, 4, 8, 0, 8], [4, 0, 8, 0, 8, 8, 4, 8]
    both = polygon(left)[:-1] + b"," + polygon(right)[1:]
    mask = drawn(8, 8, both, polygon(right), values=bytes([3, 9]))
    assert (mask[:, :4] == 3).all()
    assert (mask[:, 4:] == 9).all()


def test_relative_coordinates_are_shares_of_the_image() -> None:
    mask = drawn(10, 20, polygon([0, 0, 0.5, 0, 0.5, 1, 0, 1]), is_relative=True)
    assert (mask == np.repeat([[1] * 10 + [0] * 10], 10, axis=0)).all()


def test_without_shapes_all_is_background() -> None:
    assert not drawn(3, 5).any()


@pytest.mark.parametrize(
    ("outline", "problem"),
    [
        (polygon([100, 0, 120, 0, 120, 9]), "the polygon lies outside of the image: x from 100 to 120"),
        (polygon([0, 0, 9, 0, 9, float("nan")]), "Expected|outside|points"),
        (polygon([0, 0, 9, 0]), "a polygon has 3 or more points, x and y in turn, not 4 numbers"),
        (polygon([0, 0, 9, 0, 9, 9, 1]), "x and y in turn, not 7 numbers"),
        (b"[]", "there is no segmentation"),
        (b'"x"', "there is no segmentation"),
        (b"[[1, 2", "truncated"),
        (run_lengths([50], 10, 10), "do not sum up to the 100 pixels"),
        (run_lengths([150, -50], 10, 10), "do not sum up to the 100 pixels"),
        (run_lengths([200], 10, 20), r"of size \[10, 20\], but the image has \[10, 10\]"),
        (run_lengths("T", 10, 10), "cut short or damaged"),
        (run_lengths("éé", 10, 10), "cut short or damaged"),
        (b'{"size": [10, 10]}', "do not sum up|Expected|must be"),
    ],
)
def test_shapes_that_cannot_be_drawn(outline: bytes, problem: str) -> None:
    with pytest.raises(DataError, match=rf"a.json, image 7, shape 2: .*({problem})"):
        drawn(10, 10, polygon([0, 0, 9, 0, 9, 9]), outline)


NUMBERS = st.integers() | st.floats() | st.integers(-20, 20)
JSON = st.recursive(
    NUMBERS | st.none() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=8)
        | st.dictionaries(st.sampled_from(["counts", "size", "starts", "lengths", "by_row"]), inner)
    ),
    max_leaves=12,
)


STARTS = st.fixed_dictionaries({"starts": JSON, "lengths": JSON, "by_row": st.booleans()})


@given(JSON | st.fixed_dictionaries({"size": st.just([10, 10]), "counts": JSON}) | STARTS)
def test_any_json_is_drawn_or_refused(shape: object) -> None:
    outline = json.dumps(shape).encode()
    with contextlib.suppress(DataError):  # any other error fails
        assert drawn(10, 10, outline).shape == (10, 10)


@pytest.mark.parametrize("size", [(-5, -5), (0, 9), (10**6, 10**6)])
def test_sizes_that_no_image_has(size: tuple[int, int]) -> None:
    with pytest.raises(DataError, match=r"a.json, image 7 declares .* pixels, but an image has 1 to"):
        drawn(*size)


@pytest.mark.parametrize(
    ("starts", "lengths", "problem"), [([5], [6], "outside of 10 pixels"), ([0, 2], [3, 1], "overlap")]
)
def test_runs_that_cannot_be(starts: list[int], lengths: list[int], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        runs_from_starts(starts, lengths, 10)
