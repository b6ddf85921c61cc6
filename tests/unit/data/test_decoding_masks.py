"""Reading masks: label values as they are stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.images import encode, handmade_png

from byoc_vision.data.decoding import read_mask
from byoc_vision.errors import DataError


def read_stored(tmp_path: Path, data: bytes) -> np.ndarray:
    """The label values of a mask file with this content."""
    path = tmp_path / "mask.png"
    path.write_bytes(data)
    return read_mask(path)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_grey_levels_as_they_are(tmp_path: Path, kind: str) -> None:
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    read = read_stored(tmp_path, encode(labels, kind))
    np.testing.assert_array_equal(read, labels)
    assert read.dtype == np.uint8
    assert read.flags.writeable


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF"])
def test_palette_indices_not_colours(tmp_path: Path, kind: str) -> None:
    labels = np.array([[0, 1, 2], [2, 7, 0]], np.uint8)
    image = Image.fromarray(labels).convert("P")
    image.putpalette([component for index in range(256) for component in (255 - index, index, 99)])
    options = {"optimize": False} if kind == "GIF" else {}  # else Pillow drops unused palette entries
    np.testing.assert_array_equal(read_stored(tmp_path, encode(image, kind, **options)), labels)


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("colour_type", [0, 3])
def test_few_bits_as_stored(tmp_path: Path, bits: int, colour_type: int) -> None:
    values = np.arange(8) % 2**bits
    packed = np.packbits((values[:, None] >> np.arange(bits)[::-1] & 1).ravel().astype(np.uint8)).tobytes()
    palette = bytes(range(3 * 2**bits)) if colour_type == 3 else b""
    data = handmade_png((8, 1, bits, colour_type), b"\0" + packed, palette=palette)
    np.testing.assert_array_equal(read_stored(tmp_path, data), [values])


def test_one_bit_is_zero_and_one(tmp_path: Path) -> None:
    read = read_stored(tmp_path, encode(Image.fromarray(np.array([[True, False]])), "TIFF"))
    assert read.tolist() == [[1, 0]]


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_wide_values_are_read_if_they_fit(tmp_path: Path, dtype: type) -> None:
    np.testing.assert_array_equal(read_stored(tmp_path, encode(np.array([[0, 255]], dtype), "TIFF")), [[0, 255]])
    with pytest.raises(DataError, match=r"mask\.png has label values from 0 to 256; they must lie within 0–255"):
        read_stored(tmp_path, encode(np.array([[0, 256]], dtype), "TIFF"))


def test_equal_colours_are_labels(tmp_path: Path) -> None:
    labels = np.array([[0, 1], [255, 3]], np.uint8)
    np.testing.assert_array_equal(read_stored(tmp_path, encode(np.dstack([labels] * 3), "PNG")), labels)
    alpha = np.array([[0, 255], [9, 1]], np.uint8)
    np.testing.assert_array_equal(read_stored(tmp_path, encode(np.dstack([labels] * 3 + [alpha]), "PNG")), labels)
    np.testing.assert_array_equal(read_stored(tmp_path, encode(np.dstack([labels, alpha]), "PNG")), labels)


def test_other_colours_are_not(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"mask\.png is a colour image; save the labels as a single-channel or palette"):
        read_stored(tmp_path, encode(np.full((2, 2, 3), (1, 1, 2), np.uint8), "PNG"))


def test_floats_are_not(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="save the labels as an 8-bit"):
        read_stored(tmp_path, encode(np.zeros((2, 2), np.float32), "TIFF"))


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PNG"])
def test_several_frames_are_refused(tmp_path: Path, kind: str) -> None:
    frames = [Image.fromarray(np.full((4, 4), value, np.uint8)) for value in (0, 1)]
    with pytest.raises(DataError, match=r"mask\.png has several frames"):
        read_stored(tmp_path, encode(frames[0], kind, save_all=True, append_images=frames[1:]))
