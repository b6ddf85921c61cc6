"""What a user's script can import of this package."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from support.images import decode, draw_noise, encode

from byoc_vision.serving import DataError, decode_image, encode_mask


def test_an_image() -> None:
    image = draw_noise(6, 8)
    np.testing.assert_array_equal(decode_image(encode(image)), image)
    with pytest.raises(DataError):
        decode_image(b"no image")
    with pytest.raises(DataError, match="47 allowed"):
        decode_image(encode(image), max_pixels=47)


@pytest.mark.parametrize("kind", [np.array, torch.tensor])
def test_a_mask_keeps_its_values(kind: type) -> None:
    np.testing.assert_array_equal(decode(encode_mask(kind([[0, 1], [2, 255]]))), [[0, 1], [2, 255]])


def test_a_mask_in_colours_keeps_its_values() -> None:
    image = Image.open(io.BytesIO(encode_mask(np.array([[True, False]]), colours=True)))
    assert image.mode == "P"
    np.testing.assert_array_equal(np.asarray(image), [[1, 0]])
    assert image.convert("RGB").getpixel((1, 0)) == (0, 0, 0)


@pytest.mark.parametrize("mask", [np.zeros((1, 2, 2), int), np.zeros((2, 2)), np.array([[-1]]), np.array([[256]])])
def test_no_mask(mask: np.ndarray) -> None:
    with pytest.raises(ValueError, match="mask"):
        encode_mask(mask)
