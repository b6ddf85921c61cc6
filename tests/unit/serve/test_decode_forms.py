"""Forms with files: in which order they are read, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from support.images import encode
from support.request_bodies import form, read, refusal

from byoc_serve.decode import MAX_HEADERS, MAX_PARTS, read_files


def test_a_form_with_a_file(image: np.ndarray, png: bytes) -> None:
    body = form(('; name="note"', b"hello"), ('; name="image"; filename="a.png"', png))
    (rgb,), several = read("multipart/form-data; boundary=edge", body)
    np.testing.assert_array_equal(rgb, image)
    assert not several


def test_a_form_with_files_keeps_their_order(image: np.ndarray) -> None:
    shades = [np.full_like(image, shade) for shade in (10, 20, 30)]
    parts = [(f'; name="{name}"; filename="x"', encode(rgb, "PNG")) for name, rgb in zip("aba", shades, strict=True)]
    images, several = read('multipart/form-data; boundary="edge"', form(*parts))
    assert [int(rgb[0, 0, 0]) for rgb in images] == [10, 20, 30]
    assert several


@pytest.mark.parametrize(
    ("content_type", "body", "message"),
    [
        ("multipart/form-data", form(), "boundary"),
        ("multipart/form-data; boundary=ü", form(), "not a whole form"),
        ("multipart/form-data; boundary=other", form(), "not a whole form"),
        ("multipart/form-data; boundary=edge", form(), "no file"),
        ("multipart/form-data; boundary=edge", form(('; name="image"', b"no file name")), "no file"),
        ("multipart/form-data; boundary=edge", form(('; name="a"; filename="a"', b"text")), "begins with the text"),
        ("multipart/form-data; boundary=edge", form(('; name="a"; filename="a"', b"x"))[:-20], "not a whole form"),
        ("multipart/form-data; boundary=edge", b"--edge\r\nX: y\r\n\r\nx\r\n--edge--\r\n", "not a whole form"),
        ("multipart/form-data; boundary=edge", form(*[('; name="a"', b"")] * (MAX_PARTS + 1)), "not a whole form"),
    ],
)
def test_other_forms_are_refused(content_type: str, body: bytes, message: str) -> None:
    error = refusal(content_type, body)
    assert error.status == 400
    assert message in error.message


@pytest.mark.parametrize("size", [100, 2**16, 3 * 2**16 + 1])
@pytest.mark.parametrize("filler", [b"x", b"\r\n--edg", b"\n--edge-", b"\r"])
def test_files_of_any_length_come_whole(size: int, filler: bytes) -> None:
    """werkzeug is fed piece by piece; what looks like a boundary may be cut anywhere."""
    content = filler * (size // len(filler))
    body = form(('; filename="a"', content), ('; filename="b"', b"second"))
    assert read_files(body, "edge") == [content, b"second"]


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"a: b\r\n" * (MAX_HEADERS + 1), "34 headers, more than the limit of 32"),
        (b"a: b\r\n" * 1_000_000, "the head of a part is over 65,536 bytes"),
        (b"a: " + b"b" * 200_000, "the head of a part is over 65,536 bytes"),
    ],
)
def test_the_head_of_a_part_is_bounded(head: bytes, message: str) -> None:
    named = b'--edge\r\nContent-Disposition: form-data; filename="a"\r\n'
    body = named + head.strip() + b"\r\n\r\nx\r\n--edge--\r\n"
    assert message in refusal("multipart/form-data; boundary=edge", body).message
