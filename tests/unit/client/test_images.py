"""Any form of an image to the bytes that are sent."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from PIL import Image
from support.images import decode, encode

from byoc_vision.client.images import as_rgb, image_bytes, make_payload, open_upright
from byoc_vision.errors import DataError

RGB = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
KB = 1024


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "GIF"])
def test_files_are_sent_as_they_are(kind: str, tmp_path: Path) -> None:
    content = encode(RGB, kind)
    (tmp_path / "image").write_bytes(content)
    forms = [content, bytearray(content), memoryview(content), io.BytesIO(content), tmp_path / "image"]
    assert [image_bytes(form) for form in [*forms, str(tmp_path / "image")]] == [content] * 6


@given(
    st_numpy.arrays(
        dtype=st.sampled_from([np.uint8, np.bool_, np.float32, np.int64]),
        shape=st_numpy.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
    )
)
def test_an_array_is_sent_whole_or_refused_with_a_remedy(array: np.ndarray) -> None:
    channels = array.shape[2] if array.ndim == 3 else None
    fits = array.dtype == np.uint8 and array.size and array.ndim in (2, 3) and channels in (None, 1, 3, 4)
    if fits:
        assert (decode(image_bytes(array)) == (array[..., 0] if channels == 1 else array)).all()
    else:
        with pytest.raises(DataError, match=r"give|bring"):
            image_bytes(array)


@given(
    st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "I;16", "I", "F"]),
    st.integers(1, 9),
    st.integers(1, 9),
)
def test_a_pil_image_of_any_mode_is_sent_in_its_size_or_refused(mode: str, width: int, height: int) -> None:
    image = Image.new(mode, (width, height))
    if mode in ("I", "F"):
        with pytest.raises(DataError, match="bring it to 0–255"):
            image_bytes(image)
    else:
        assert Image.open(io.BytesIO(image_bytes(image))).size == image.size


@given(st.binary(max_size=200))
def test_other_content_is_refused(content: bytes) -> None:
    with pytest.raises(DataError):
        open_upright(content)


def test_a_turned_photograph_is_sent_as_it_is_and_a_turned_pil_image_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side
    content = encode(RGB, "JPEG", exif=exif)
    assert image_bytes(content) == content
    assert open_upright(content).size == (6, 8)
    assert Image.open(io.BytesIO(image_bytes(Image.open(io.BytesIO(content))))).size == (6, 8)


def test_16_bits_and_transparency_are_seen_as_by_the_server() -> None:
    deep = Image.fromarray(np.array([[0, 257 * 90, 65535]], np.uint16))
    assert np.asarray(as_rgb(deep))[0, :, 0].tolist() == [0, 90, 255]
    clear = Image.new("RGBA", (1, 1), (9, 9, 9, 0))
    assert as_rgb(clear).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("no/such.jpg", "no/such.jpg: No such file or directory; give the path"),
        (b"", "is empty"),
        (io.StringIO("text"), "mode 'rb'"),
        (None, "a NoneType is not an image"),
        (".", "Is a directory"),
    ],
)
def test_other_things_are_refused(image: object, words: str) -> None:
    with pytest.raises(DataError, match=words):
        image_bytes(image)  # type: ignore[arg-type]


def test_an_image_above_the_limit_is_refused_with_its_size_and_the_remedy() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (600, 800, 3), np.uint8)
    with pytest.raises(DataError, match=r"has 1\.4 MB as it is sent, and a request may have 0\.5 MB; downsize=True"):
        make_payload(noise, 512 * KB)


@given(st.integers(3, 300), st.sampled_from(["RGB", "RGBA", "L", "P", "CMYK"]))
def test_an_image_that_is_made_smaller_fits_and_keeps_its_shape(limit_kb: int, mode: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    image = Image.fromarray(noise).convert(mode)
    payload = make_payload(encode(np.asarray(image), "PNG") if mode == "L" else image, limit_kb * KB, downsize=True)
    assert len(payload.body) <= limit_kb * KB
    width, height = Image.open(io.BytesIO(payload.body)).size
    assert width / height == pytest.approx(4 / 3, rel=0.03)
    if payload.original is not None:
        assert payload.original == (320, 240)
        assert width == round(320 * payload.scale)


def test_a_limit_below_any_image_is_refused() -> None:
    with pytest.raises(DataError, match="raise limit_mb"):
        make_payload(RGB.repeat(100, axis=0), 100, downsize=True)
