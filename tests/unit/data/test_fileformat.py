"""What the structure of a file tells, without decoding it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.images import draw_noise, encode, heic_ramp

from byoc_vision.data import fileformat

NOISE = draw_noise(24, 32)
FORMATS = ("JPEG", "PNG", "WebP", "BMP", "TIFF", "GIF", "HEIC", "AVIF")


@pytest.mark.parametrize("kind", FORMATS)
def test_each_format_is_known_by_its_first_bytes(kind: str) -> None:
    data = heic_ramp() if kind == "HEIC" else encode(NOISE, kind)
    assert fileformat.identify(data) == kind
    assert fileformat.is_whole(data, fileformat.identify(data) or "JPEG")


@given(st.binary(max_size=40))
def test_bytes_without_a_signature_are_not_a_format(data: bytes) -> None:
    kind = fileformat.identify(data)
    assert kind is None or kind in FORMATS
    if kind:
        fileformat.is_whole(data, kind)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 1}, {"subsampling": 0}])
def test_a_jpeg_ends_with_its_marker_whatever_follows(options: dict[str, object]) -> None:
    data = encode(NOISE, "JPEG", **options)
    assert fileformat.is_whole(data, "JPEG")
    assert fileformat.is_whole(data + b"\xff\xd8 appended", "JPEG")
    for cut in range(3, len(data)):
        assert not fileformat.is_whole(data[:cut], "JPEG"), cut


def test_the_end_of_an_embedded_thumbnail_is_not_the_end() -> None:
    data = encode(NOISE, "JPEG")
    thumbnail = b"Exif\0\0" + data
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    image = data[:2] + segment + data[2:]
    assert fileformat.is_whole(image, "JPEG")
    assert not fileformat.is_whole(image[:-2], "JPEG")


def test_a_second_image_does_not_complete_a_cut_one() -> None:
    data = encode(NOISE, "JPEG")
    assert not fileformat.is_whole(data[:-100] + data, "JPEG")


def test_zeros_in_place_of_the_end_are_not_the_end() -> None:
    data = encode(NOISE, "JPEG")
    assert not fileformat.is_whole(data[:-200] + bytes(200), "JPEG")


@pytest.mark.parametrize("kind", ["PNG", "WebP", "HEIC", "AVIF"])
def test_a_cut_file_is_not_whole(kind: fileformat.Format) -> None:
    data = heic_ramp() if kind == "HEIC" else encode(NOISE, kind)
    assert fileformat.is_whole(data + b"more", kind)
    assert not any(fileformat.is_whole(data[:cut], kind) for cut in range(12, len(data)))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"hello,\n world", "the text 'hello, world'"),
        ("größe".encode() * 20, "the text 'größe"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0123", "git-lfs"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "a video"),
        (b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09", "the bytes 00 01 02 03 04 05 06 07"),
    ],
)
def test_what_is_not_an_image_is_described(data: bytes, words: str) -> None:
    assert words in fileformat.describe(data)
