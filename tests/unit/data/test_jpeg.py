"""JPEG files whose compressed pixels are not all there, although the file has an end."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.images import draw_noise, encode

from byoc_vision.data.decoding import read_image, read_mask
from byoc_vision.data.jpeg import MAX_SCANS, MAX_SEGMENTS, ends_of_intervals, read_structure, with_filling
from byoc_vision.errors import DataError

END = b"\xff\xd9"
NOISE = draw_noise(80, 112)
WRITTEN: dict[str, dict[str, Any]] = {
    "baseline": {},
    "own codes": {"optimize": True},
    "no subsampling": {"subsampling": 0},
    "restarts": {"restart_marker_rows": 1},
    "progressive": {"progressive": True},
    "grey": {"grey": True},
    "grey, progressive": {"grey": True, "progressive": True},
}


def jpeg(image: np.ndarray = NOISE, grey: bool = False, **options: object) -> bytes:
    return encode(image[..., 0] if grey else image, "JPEG", **options)


def cut_out(data: bytes, share: float, begin: float) -> bytes:
    """The file without this share of its compressed pixels, from this point of them on; its end is still there."""
    first = data.index(b"\xff\xda") + 14
    length = len(data) - len(END) - first
    start = first + int(begin * length)
    return data[:start] + data[start + int(share * length) :]


@pytest.mark.parametrize("begin", [0.0, 0.1, 0.3, "at the end"])
@pytest.mark.parametrize("share", [0.6, 0.7, 0.95])
@pytest.mark.parametrize("options", WRITTEN.values(), ids=WRITTEN.keys())
def test_a_file_without_most_of_its_pixels_is_refused(
    options: dict[str, Any], share: float, begin: float | str
) -> None:
    data = jpeg(**options)
    read_image(data)
    start = begin if isinstance(begin, float) and begin + share <= 1 else 1 - share
    with pytest.raises(DataError, match=r"the image is (cut short: .*; copy it again|damaged)"):
        read_image(cut_out(data, share, start))


@pytest.mark.parametrize("options", [WRITTEN[name] for name in ("baseline", "own codes", "grey")])
def test_a_sequential_file_is_refused_if_a_twentieth_is_missing_at_its_end(options: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="some of its pixels are missing"):
        read_image(cut_out(jpeg(**options), 0.05, 0.95))


@pytest.mark.parametrize("options", [WRITTEN["progressive"], WRITTEN["grey, progressive"]])
def test_every_scan_must_be_complete(options: dict[str, Any]) -> None:
    """libjpeg shows the pixels of the earlier scans where a later one is cut."""
    data = jpeg(**options)
    for scan in read_structure(data).scans:
        cut = (scan.stop - scan.start) // 10 or 1
        with pytest.raises(DataError, match="cut short"):
            read_image(data[: scan.stop - cut] + data[scan.stop :])


def test_every_restart_interval_must_be_complete() -> None:
    """The next one starts where it belongs, so that the last pixel does not show that pixels are missing."""
    data = jpeg(restart_marker_rows=1)
    markers = [match.start() for match in re.finditer(rb"\xff[\xd0-\xd7]", data)]
    assert len(markers) > 3
    for marker in markers:
        with pytest.raises(DataError, match="cut short"):
            read_image(data[: marker - len(data) // 20] + data[marker:])


def test_the_ends_of_intervals() -> None:
    """80 × 112 pixels, in units of 16 × 16 of which each row is an interval."""
    rows, columns = ends_of_intervals(read_structure(jpeg(restart_marker_rows=1, subsampling=2)))
    assert rows.tolist() == [8, 24, 40, 56, 79]
    assert columns.tolist() == [104] * 4 + [111]


def test_as_a_mask_too(tmp_path: Path) -> None:
    path = tmp_path / "mask.jpg"
    path.write_bytes(jpeg(grey=True))
    assert read_mask(path).shape == NOISE.shape[:2]
    path.write_bytes(cut_out(jpeg(grey=True), 0.3, 0.7))
    with pytest.raises(DataError, match=r"mask\.jpg is cut short"):
        read_mask(path)


@pytest.mark.parametrize("options", WRITTEN.values(), ids=WRITTEN.keys())
@pytest.mark.parametrize("level", [0, 128, 255])
def test_plain_images_are_complete_also_in_the_grey_of_missing_pixels(level: int, options: dict[str, Any]) -> None:
    image = np.full((61, 47, 3), level, np.uint8)
    np.testing.assert_array_equal(read_image(jpeg(image, **options)), image)


@pytest.mark.parametrize("options", WRITTEN.values(), ids=WRITTEN.keys())
def test_a_size_that_its_bytes_cannot_fill_is_refused_before_decoding(options: dict[str, Any]) -> None:
    data = jpeg(**options)
    frame = re.search(rb"\xff[\xc0\xc2]", data)
    assert frame
    at = frame.start() + 5
    monster = data[:at] + struct.pack(">HH", 13_000, 13_000) + data[at + 4 :]
    with pytest.raises(DataError, match=r"(too few for 13000 × 13000|a part of its pixels is missing)"):
        read_image(monster)


def test_a_progressive_file_without_its_last_scan_is_refused() -> None:
    data = jpeg(progressive=True)
    with pytest.raises(DataError, match="some of its scans are missing"):
        read_image(data[: data.rindex(b"\xff\xda")] + END)


def test_filling_changes_only_what_is_not_complete() -> None:
    for options in WRITTEN.values():
        data = jpeg(**options)
        np.testing.assert_array_equal(read_image(with_filling(data, read_structure(data))), read_image(data))


def test_segments_and_scans_are_limited() -> None:
    data = jpeg()
    comment = b"\xff\xfe\0\2"
    read_image(data[:2] + comment * 1000 + data[2:])
    with pytest.raises(DataError, match=f"more than {MAX_SEGMENTS:,} segments"):
        read_image(data[:2] + comment * MAX_SEGMENTS + data[2:])
    scan = data[data.index(b"\xff\xda") : -2]
    with pytest.raises(DataError, match=f"more than {MAX_SCANS} scans"):
        read_image(data[:-2] + scan * MAX_SCANS + END)
