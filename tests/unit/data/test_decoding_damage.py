"""Files that are cut, damaged, or not images: an error with the name of the file, or all of the image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from support.images import draw_smooth, encode, handmade_png, heic_ramp

from byoc_vision.data.decoding import read_image, read_mask
from byoc_vision.errors import DataError

# Pillow warns of damaged metadata (EXIF, TIFF tags) before it reads on or gives up.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")


def encoded_kinds() -> dict[str, bytes]:
    rgb = draw_smooth()
    return {
        "baseline": encode(rgb, "JPEG"),
        "progressive": encode(rgb, "JPEG", progressive=True),
        "restarts": encode(rgb, "JPEG", restart_marker_blocks=2),
        "cmyk": encode(Image.fromarray(rgb).convert("CMYK"), "JPEG"),
        "png": encode(rgb, "PNG"),
        "palette png": encode(Image.fromarray(rgb).quantize(64), "PNG"),
        "webp": encode(rgb, "WebP"),
        "lossless webp": encode(rgb, "WebP", lossless=True),
        "gif": encode(Image.fromarray(rgb).quantize(64), "GIF"),
        "bmp": encode(rgb, "BMP"),
        "tiff": encode(rgb, "TIFF"),
        "heic": heic_ramp(),
        "avif": encode(rgb, "AVIF"),
        "deflated tiff": encode(rgb, "TIFF", compression="tiff_adobe_deflate"),
    }


KINDS = encoded_kinds()


@given(st.sampled_from(sorted(KINDS)), st.data())
@settings(max_examples=300, deadline=None)
def test_an_image_cut_anywhere_is_refused_unless_no_pixel_is_missing(kind: str, data: st.DataObject) -> None:
    whole = KINDS[kind]
    cut = data.draw(st.integers(0, len(whole) - 1))
    try:
        image = read_image(whole[:cut])
    except DataError:
        return
    # A GIF's last two bytes say only that nothing follows.
    assert kind == "gif"
    assert len(whole) - cut <= 2
    np.testing.assert_array_equal(image, read_image(whole))


@pytest.mark.parametrize("kind", ["baseline", "progressive", "restarts", "cmyk"])
def test_a_jpeg_cut_at_any_byte_is_refused(kind: str) -> None:
    whole = KINDS[kind]
    for cut in range(0, len(whole), 7):
        with pytest.raises(DataError):
            read_image(whole[:cut])
    with pytest.raises(DataError, match="cut short"):
        read_image(whole[:-1])


def test_a_large_jpeg_cut_near_its_end_is_refused() -> None:
    whole = encode(np.random.default_rng(0).integers(0, 256, (600, 800, 3), dtype=np.uint8), "JPEG")
    for missing in (1, 2, 3, 100, 5_000):
        with pytest.raises(DataError, match="cut short"):
            read_image(whole[:-missing])


@given(st.sampled_from(sorted(KINDS)), st.binary(max_size=300))
@example("baseline", b"\xff\xd8\xff\xe0")
@example("progressive", b"\0" * 200)
@settings(max_examples=150, deadline=None)
def test_bytes_behind_the_end_do_not_matter(kind: str, garbage: bytes) -> None:
    whole = KINDS[kind]
    np.testing.assert_array_equal(read_image(whole + garbage), read_image(whole))


@given(
    st.sampled_from(sorted(KINDS)),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8),
)
@settings(max_examples=300, deadline=None)
def test_damage_is_a_data_error_or_not_seen(kind: str, changes: list[tuple[float, int]]) -> None:
    damaged = bytearray(KINDS[kind])
    for where, value in changes:
        damaged[int(where**3 * len(damaged))] = value  # mostly in the header
    try:
        image = read_image(bytes(damaged), max_pixels=10**6)
    except DataError:
        return
    assert image.dtype == np.uint8
    assert image.ndim == 3


def test_a_palette_image_without_a_palette_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    path.write_bytes(handmade_png((5, 5, 8, 3), bytes(30)))
    with pytest.raises(DataError, match=r"cat\.png is damaged: the PNG image cannot be decoded"):
        read_image(path)
    assert not read_mask(path).any()  # a mask is the stored indices, whatever their colours


@given(st.binary(max_size=200))
@settings(max_examples=100)
def test_arbitrary_bytes_are_not_an_image(data: bytes) -> None:
    with pytest.raises(DataError):
        read_image(data)


def test_errors_name_the_file_and_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    path.write_text("not an image at all")
    with pytest.raises(DataError, match=r"cat\.png is not a JPEG, PNG.*begins with the text 'not an image at all'"):
        read_image(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"cat\.png is not a .*it is empty"):
        read_image(path)
    with pytest.raises(DataError, match=r"gone\.png cannot be read: No such file"):
        read_image(tmp_path / "gone.png")
    with pytest.raises(DataError, match="the image is not a"):
        read_image(b"<html>")


@given(st.sampled_from(["palette png", "gif", "tiff", "deflated tiff"]), st.floats(0, 1, exclude_max=True))
@settings(max_examples=60, deadline=None)
def test_a_cut_mask_is_refused(tmp_path_factory: pytest.TempPathFactory, kind: str, where: float) -> None:
    whole = KINDS[kind]
    path = tmp_path_factory.getbasetemp() / "cut.png"
    path.write_bytes(whole[: int(where * (len(whole) - 2))])
    with pytest.raises(DataError, match=r"cut\.png"):
        read_mask(path)
