"""TIFF files that declare absurd numbers of strips, tiles or tags."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.images import draw_noise, encode

from byoc_vision.data.decoding import read_image
from byoc_vision.data.tiff import MAX_PARTS, MAX_TAGS, read_directory
from byoc_vision.errors import DataError

WIDTH, HEIGHT, BITS, COMPRESSION, COLOUR, STRIPS, SAMPLES, ROWS, LENGTHS = 256, 257, 258, 259, 262, 273, 277, 278, 279
TILE_WIDTH, TILE_HEIGHT, TILES, TILE_LENGTHS = 322, 323, 324, 325


def tiff(size: int, strips: int = 0, rows: int = 1, tiles: int = 0, order: str = "<") -> bytes:
    """A grey TIFF of size × size pixels whose strips or tiles all are the same bytes of the file."""
    numbers: dict[int, list[int]] = {
        WIDTH: [size],
        HEIGHT: [size],
        BITS: [8],
        COMPRESSION: [1],
        COLOUR: [1],
        SAMPLES: [1],
    }
    if tiles:
        numbers |= {TILE_WIDTH: [16], TILE_HEIGHT: [16], TILES: [8] * tiles, TILE_LENGTHS: [256] * tiles}
    else:
        numbers |= {ROWS: [rows], STRIPS: [8] * strips, LENGTHS: [size * rows] * strips}
    entries, values = b"", b""
    start = 8 + 2 + 12 * len(numbers) + 4
    for tag, listed in sorted(numbers.items()):
        content = struct.pack(f"{order}{len(listed)}I", *listed)
        entries += struct.pack(order + "HHI", tag, 4, len(listed))
        entries += content if len(listed) == 1 else struct.pack(order + "I", start + len(values))
        values += content if len(listed) > 1 else b""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return head + struct.pack(order + "H", len(numbers)) + entries + bytes(4) + values + bytes(4096)


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_number_that_the_size_needs_is_read(order: str) -> None:
    assert read_image(tiff(40, strips=40, order=order)).shape == (40, 40, 3)
    assert read_image(tiff(40, strips=14, rows=3, order=order)).shape == (40, 40, 3)
    assert read_image(tiff(40, tiles=9, order=order)).shape == (40, 40, 3)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("declared", [{"strips": 41}, {"strips": 39}, {"tiles": 2}, {"tiles": 10}])
def test_another_number_is_refused(declared: dict[str, Any], order: str) -> None:
    with pytest.raises(DataError, match="strips or tiles, and its size needs"):
        read_image(tiff(40, order=order, **declared))


@pytest.mark.parametrize("declared", [{"strips": 700_000}, {"tiles": 700_000}])
def test_more_than_the_limit_are_refused_before_the_decoder_sees_them(declared: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=f"700,000 strips or tiles, more than {MAX_PARTS:,}"):
        read_image(tiff(10, **declared))


def test_tags_are_limited() -> None:
    with pytest.raises(ValueError, match=f"65,535 tags, more than {MAX_TAGS:,}"):
        read_directory(b"II*\0" + struct.pack("<IH", 8, 65_535))
    with pytest.raises(ValueError, match="tags, more than"):
        read_directory(b"MM\0+" + struct.pack(">HHQQ", 8, 0, 16, 2**60))


@pytest.mark.parametrize("cut", range(0, 120, 3))
def test_a_damaged_directory_is_left_to_the_decoder(cut: int) -> None:
    assert not read_directory(tiff(10, strips=10)[:cut].ljust(4, b"\0")).entries


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "CMYK", "1", "I;16"])
def test_what_pillow_writes_has_the_right_number(compression: str, mode: str) -> None:
    if compression == "jpeg" and mode in ("1", "I;16"):
        mode = "L"  # JPEG has 8 bits
    image = Image.fromarray(draw_noise(300, 200))
    image = Image.fromarray(np.asarray(image)[..., 0].astype(np.uint16)) if mode == "I;16" else image.convert(mode)
    directory = read_directory(encode(image, "TIFF", compression=compression, strip_size=4096))
    assert directory.entries
    directory.check_parts()
