"""Masks as PNG and as COCO RLE, decoded by Pillow and by a port of maskApi.c."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from byoc_vision.inference.encoding import class_shares, encode_png, encode_rles

MASKS = arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=40))
LABELS = arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.integers(0, 3))


def decode_rle(text: str, height: int, width: int) -> np.ndarray:
    """rleFrString and rleDecode of cocoapi's common/maskApi.c, line for line."""
    counts: list[int] = []
    position = 0
    while position < len(text):
        value, shift, more = 0, 0, True
        while more:
            code = ord(text[position]) - 48
            value |= (code & 0x1F) << (5 * shift)
            more = bool(code & 0x20)
            position += 1
            shift += 1
            if not more and code & 0x10:
                value |= -1 << (5 * shift)
        if len(counts) > 2:
            value += counts[-2]
        counts.append(value)
    flat = np.concatenate([np.full(length, index % 2, dtype=bool) for index, length in enumerate(counts)])
    return flat.reshape(width, height).T


@given(MASKS)
def test_a_png_holds_the_values_of_the_mask(mask: np.ndarray) -> None:
    image = Image.open(io.BytesIO(encode_png(mask)))
    assert (image.format, image.mode) == ("PNG", "L")
    np.testing.assert_array_equal(np.asarray(image), mask)


def test_a_mask_that_is_a_view_is_encoded_correctly() -> None:
    mask = np.arange(200, dtype=np.uint8).reshape(10, 20)[::2, ::-1].T
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(encode_png(mask)))), mask)


def test_a_png_of_runs_is_small() -> None:
    mask = np.zeros((1280, 1918), dtype=np.uint8)
    mask[300:900, 400:1500] = 255
    assert len(encode_png(mask)) < 10_000


@pytest.mark.parametrize("wrong", [np.zeros((4, 4), np.int64), np.zeros((4, 4, 3), np.uint8)])
def test_an_array_that_is_not_a_mask_is_an_error(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8"):
        encode_png(wrong)


@given(MASKS, st.sampled_from([1, 2, 5, 16, 17, 256]))
def test_a_share_is_the_fraction_of_pixels(mask: np.ndarray, count: int) -> None:
    labels = (mask.astype(int) % count).astype(np.uint8)
    assert class_shares(labels, count) == [round(float(np.mean(labels == index)), 6) for index in range(count)]


@pytest.mark.parametrize("count", [2, 40])
def test_shares_of_more_pixels_than_are_counted_at_a_time(count: int) -> None:
    labels = np.zeros((4097, 4096), np.uint8)
    labels[-1, :2048] = count - 1
    assert class_shares(labels, count)[:: count - 1] == [round(1 - 0.5 / 4097, 6), round(0.5 / 4097, 6)]


@given(LABELS)
def test_the_rle_of_every_class_decodes_to_its_pixels(labels: np.ndarray) -> None:
    height, width = labels.shape
    for index, text in enumerate(encode_rles(labels, 5)):
        np.testing.assert_array_equal(decode_rle(text, height, width), labels == index)


@pytest.mark.parametrize(
    ("rows", "rles"),
    [
        # Run lengths by hand, columns first; from the fourth on they are differences. 48 + length is the character.
        ([[0, 0], [0, 0]], ["04", "4"]),  # [0, 4] and [4]
        ([[0, 0], [1, 1]], ["01100", "1110"]),  # [0, 1, 1, 1, 1] and [1, 1, 1, 1]
        ([[0, 1], [0, 1]], ["022", "22"]),  # [0, 2, 2] and [2, 2]
    ],
)
def test_known_encodings(rows: list[list[int]], rles: list[str]) -> None:
    assert encode_rles(np.array(rows, dtype=np.uint8), 2) == rles


def test_long_runs_take_several_characters() -> None:
    labels = np.zeros((100, 100), dtype=np.uint8)
    labels[:, 37:] = 1
    # 3700 = 0b11_10011_10100 → 20|32+48 = 'd', 19|32+48 = 'c', 3+48 = '3'; 6300 = 0b110_00100_11100 → 'l', 'T', '6'.
    assert encode_rles(labels, 2)[1] == "dc3lT6"


def test_noise_keeps_its_pixels() -> None:
    labels = np.random.default_rng(0).integers(0, 11, (300, 200), dtype=np.uint8)
    for index, text in enumerate(encode_rles(labels, 11)):
        np.testing.assert_array_equal(decode_rle(text, 300, 200), labels == index)
