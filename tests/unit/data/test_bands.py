"""Images with bands, as they are stored and as a model takes them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.bands import draw_bands, tiff
from support.images import encode, npy

from byoc_vision.data.bands import find_bands, open_bands, read_bands, read_pixels
from byoc_vision.data.decoding import Content, ImageTooLarge, image_size, orientation_of
from byoc_vision.data.samples import Sample
from byoc_vision.errors import DataError, InputError
from byoc_vision.preprocess import Band

BANDS = tuple(Band(low=0, high=3000) for _ in range(4))


def read(data: bytes) -> np.ndarray:
    return read_bands(Content("1.tif", data))


@pytest.mark.parametrize("bands", [1, 2, 3, 4, 5, 8, 16])
@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "f4"])
@pytest.mark.parametrize("options", [{}, {"order": ">"}, {"deflate": True}, {"planar": True, "rows": 32}])
def test_tiffs_of_any_bands(bands: int, dtype: str, options: dict[str, Any]) -> None:
    image = draw_bands(0, bands)[0].astype(dtype)
    stored = read(tiff(image, **options))
    assert stored.dtype == image.dtype
    np.testing.assert_array_equal(stored, image)


@pytest.mark.parametrize("order", ["<", ">"])
def test_differences_along_a_row_are_summed(order: str) -> None:
    image = draw_bands(1)[0]
    np.testing.assert_array_equal(read(tiff(image, predictor=2, deflate=True, order=order)), image)


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate", "raw"])
def test_tiffs_of_libtiff(compression: str) -> None:
    """As Pillow writes 16-bit grey; OpenCV writes four bands with LZW and differences."""
    grey = draw_bands(2, 1)[0]
    np.testing.assert_array_equal(read(encode(Image.fromarray(grey[..., 0]), "TIFF", compression=compression)), grey)
    four = draw_bands(3)[0]
    written, content = cv2.imencode(".tif", four)
    assert written
    np.testing.assert_array_equal(read(content.tobytes())[..., [2, 1, 0, 3]], four)


def test_pngs_and_arrays() -> None:
    four = draw_bands(4)[0]
    _, content = cv2.imencode(".png", four)
    np.testing.assert_array_equal(read(content.tobytes())[..., [2, 1, 0, 3]], four)
    np.testing.assert_array_equal(read(npy(four)), four)
    np.testing.assert_array_equal(read(npy(four[..., 0])), four[..., :1])
    np.testing.assert_array_equal(read(npy(four.astype(np.float64))), four.astype(np.float32))


def test_each_band_is_stretched_by_its_range() -> None:
    image = np.array([[[0, 1500, 3000, 9000]]], np.uint16)
    np.testing.assert_array_equal(read_pixels(npy(image), BANDS), [[[0, 128, 255, 255]]])
    with pytest.raises(DataError, match="has 3 bands, and the model's images have 4; send TIFF or npy with 4"):
        read_pixels(encode(np.zeros((4, 4, 3), np.uint8)), BANDS)


def write(folder: Path, name: str, content: bytes) -> Sample:
    (folder / name).write_bytes(content)
    return Sample(folder / name, label=0)


def test_ranges_are_the_percentiles_of_the_training_images(tmp_path: Path) -> None:
    samples = [write(tmp_path, f"{number}.tif", tiff(draw_bands(number)[0])) for number in range(6)]
    bands = find_bands(samples, None)
    values = np.concatenate([draw_bands(number)[0].reshape(-1, 4) for number in range(6)])
    np.testing.assert_allclose([(band.low, band.high) for band in bands], np.percentile(values, (1, 99), axis=0).T)
    stretched = np.stack([read_pixels(sample.image, bands) for sample in samples]) / 255
    np.testing.assert_allclose([band.mean for band in bands], stretched.mean(axis=(0, 1, 2)), atol=1e-5)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (encode(np.zeros((4, 4, 3), np.uint8), "JPEG"), 0),
        (encode(np.zeros((4, 4, 4), np.uint8), "TIFF"), 0),  # transparent
        (encode(np.zeros((4, 4), np.uint16), "PNG"), 0),
        (tiff(np.zeros((4, 4, 3), np.uint8)), 0),
        (tiff(np.zeros((4, 4, 3), np.uint16)), 3),
        (tiff(np.zeros((4, 4, 4), np.uint8)), 4),
        (npy(np.zeros((4, 4, 2), np.float32)), 2),
    ],
)
def test_photographs_are_left_alone(tmp_path: Path, content: bytes, found: int) -> None:
    assert len(find_bands([write(tmp_path, "1", content)], None)) == found


def test_the_user_says_that_a_photograph_has_bands(tmp_path: Path) -> None:
    samples = [write(tmp_path, "1.png", encode(np.full((4, 4), 4000, np.uint16), "PNG"))]
    assert len(find_bands(samples, 1)) == 1
    with pytest.raises(InputError, match=r"images have 1 bands, such as .*1\.png; they must all have 2: set bands"):
        find_bands(samples, 2)


def test_images_that_differ_are_named(tmp_path: Path) -> None:
    samples = [write(tmp_path, f"{bands}.tif", tiff(draw_bands(0, bands)[0])) for bands in (4, 5)]
    with pytest.raises(InputError, match="images have 4 and 5 bands"):
        find_bands(samples, None)


WHOLE = {"tiff": tiff(draw_bands(0)[0], deflate=True), "npy": npy(draw_bands(0)[0]), "raw": tiff(draw_bands(0)[0])}


@given(st.sampled_from(sorted(WHOLE)), st.data())
@settings(max_examples=200, deadline=None)
def test_cut_files_are_refused(kind: str, data: st.DataObject) -> None:
    whole = WHOLE[kind]
    with pytest.raises(DataError):
        read_pixels(whole[: data.draw(st.integers(0, len(whole) - 6))], BANDS)


def test_more_strips_than_an_image_has() -> None:
    content = bytearray(WHOLE["raw"])
    strips = content.index((273).to_bytes(2, "little") + (4).to_bytes(2, "little"))
    content[strips + 4 : strips + 8] = (2**24).to_bytes(4, "little")
    for read in (orientation_of, image_size):
        with pytest.raises(DataError, match="16,777,216 strips or tiles"):
            read(Content("1.tif", bytes(content)))


@given(st.sampled_from(sorted(WHOLE)), st.data())
@settings(max_examples=300, deadline=None)
def test_changed_files_are_read_or_refused(kind: str, data: st.DataObject) -> None:
    content = bytearray(WHOLE[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, min(len(content), 300) - 1))] = data.draw(st.integers(0, 255))
    try:
        pixels = read_pixels(bytes(content), BANDS, max_pixels=10_000)
    except DataError:
        return
    assert pixels.dtype == np.uint8


def test_a_declared_size_is_checked_before_decoding() -> None:
    data = io.BytesIO()
    np.lib.format.write_array_header_1_0(data, {"descr": "<u2", "fortran_order": False, "shape": (60_000, 60_000, 4)})
    with pytest.raises(DataError, match="is cut short: it declares"):
        read_pixels(data.getvalue(), BANDS)
    with pytest.raises(ImageTooLarge, match="32 × 32 pixels, more than the 1,000 allowed"):
        open_bands(Content("1.tif", WHOLE["tiff"]), BANDS, max_pixels=1000)
