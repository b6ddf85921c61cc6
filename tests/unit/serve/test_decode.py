"""Pictures in every form in which a request may bring them."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.images import encode, npy
from support.parsers import outcomes

from byoc_serve.decode import (
    IMAGE_TYPES,
    MAX_HEADERS,
    MAX_PARTS,
    MAX_VALUES,
    Limits,
    Payload,
    choose_decoder,
    read_files,
    read_json,
)
from byoc_vision.errors import RequestError

PIXELS = 10_000
LIMITS = Limits(images=8, lines=100)


def read(content_type: str | None, body: bytes) -> tuple[list[np.ndarray], bool]:
    payload = choose_decoder(content_type, LIMITS)(body)
    return list(images(payload)), payload.several


def images(payload: Payload) -> Iterator[np.ndarray]:
    """Each image, decoded; the first error is raised."""
    for outcome in outcomes(payload, PIXELS):
        if isinstance(outcome, RequestError):
            raise outcome
        yield outcome


def refusal(content_type: str | None, body: bytes) -> RequestError:
    with pytest.raises(RequestError) as raised:
        read(content_type, body)
    return raised.value


def form(*parts: tuple[str, bytes], boundary: str = "edge") -> bytes:
    """A multipart body of parts: what follows `form-data` in their disposition, and their content."""
    lines = b"".join(
        f"--{boundary}\r\nContent-Disposition: form-data{rest}\r\n\r\n".encode() + content + b"\r\n"
        for rest, content in parts
    )
    return lines + f"--{boundary}--\r\n".encode()


@pytest.mark.parametrize(
    ("media_type", "kind"),
    [
        ("image/png", "PNG"),
        ("image/PNG; charset=binary", "PNG"),
        ("image/bmp", "BMP"),
        ("image/webp", "WEBP"),
        ("image/tiff", "TIFF"),
        ("image/gif", "GIF"),
        ("application/x-image", "PNG"),
        ("image/jpeg", "PNG"),  # people mistake them, and the bytes say what they are
        ("application/octet-stream", "PNG"),
        ("binary/octet-stream", "BMP"),  # what S3 calls objects by default
        ("application/x-www-form-urlencoded", "TIFF"),  # what curl --data-binary says
        ("", "PNG"),
        (None, "GIF"),
    ],
)
def test_images(image: np.ndarray, media_type: str | None, kind: str) -> None:
    lossless = kind != "WEBP"
    images, several = read(media_type, encode(image, kind))
    assert [rgb.shape for rgb in images] == [image.shape]
    assert not several
    assert not lossless or np.array_equal(images[0], image)


def test_jpeg(image: np.ndarray) -> None:
    (rgb,), _ = read("image/jpeg", encode(image, "JPEG"))
    assert rgb.shape == image.shape


@pytest.mark.parametrize("media_type", ["application/x-npy", "application/octet-stream", None])
def test_arrays(image: np.ndarray, media_type: str | None) -> None:
    (rgb,), several = read(media_type, npy(image))
    np.testing.assert_array_equal(rgb, image)
    assert not several
    (rgb,), _ = read(media_type, npy(image[..., 0]))
    np.testing.assert_array_equal(rgb, np.repeat(image[..., :1], 3, axis=2))


def test_an_array_of_four_dimensions_is_several_images(image: np.ndarray) -> None:
    images, several = read("application/x-npy", npy(np.stack([image, 255 - image])))
    assert several
    np.testing.assert_array_equal(images, [image, 255 - image])


@pytest.mark.parametrize(
    ("array", "status", "message"),
    [
        (np.zeros((4, 4), np.uint16), 400, "dtype"),
        (np.full((4, 4), -0.5, np.float32), 400, "range from -0.5 to -0.5; send 0 to 255, or 0 to 1"),
        (np.full((4, 4), np.nan, np.float32), 400, "range from nan to nan"),
        (np.zeros(4, np.uint8), 400, "shape is [4]"),
        (np.zeros((2, 4, 4), np.uint8), 400, "shape is [2, 4, 4]"),
        (np.zeros((1, 1, 1, 1, 1), np.uint8), 400, "shape"),
        (np.zeros((4, 4, 17), np.uint8), 400, "shape is [4, 4, 17]"),
        (np.zeros((0, 4, 3), np.uint8), 400, "empty"),
        (np.zeros((101, 100), np.uint8), 413, "10,000"),
    ],
)
def test_other_arrays_are_refused(array: np.ndarray, status: int, message: str) -> None:
    error = refusal("application/x-npy", npy(array))
    assert error.status == status
    assert message in error.message


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_of_floats_range_to_1_or_to_255(image: np.ndarray, dtype: type) -> None:
    for pixels in (image.astype(dtype), image.astype(dtype) / 255):
        (rgb,), _ = read("application/x-npy", npy(pixels))
        np.testing.assert_array_equal(rgb, image)


@pytest.mark.parametrize("form_of", [lambda array: array, lambda array: {"image": array}])
def test_json_of_numbers(image: np.ndarray, form_of: Callable[[object], object]) -> None:
    for pixels in (image, image / 255, image.astype(float)):
        for indent in (None, 1):
            body = json.dumps(form_of(pixels.tolist()), indent=indent).encode()
            (rgb,), several = read("application/json", body)
            np.testing.assert_array_equal(rgb, image)
            assert not several
    (grey,), _ = read("application/json", json.dumps(form_of(image[..., 0].tolist())).encode())
    np.testing.assert_array_equal(grey, np.repeat(image[..., :1], 3, axis=2))


@pytest.mark.parametrize("key", ["instances", "inputs"])
def test_json_of_numbers_for_several_images(image: np.ndarray, key: str) -> None:
    both = np.stack([image, 255 - image])
    images, several = read("application/json", json.dumps({key: both.tolist()}).encode())
    assert several
    np.testing.assert_array_equal(images, both)
    images, several = read("application/json", json.dumps({key: both[..., 0].tolist()}).encode())
    assert several
    np.testing.assert_array_equal([rgb[..., 2] for rgb in images], both[..., 0])


def test_json_lines_of_numbers(image: np.ndarray) -> None:
    line = json.dumps({"image": image.tolist()}).encode()
    images, several = read("application/jsonlines", line + b"\n" + line)
    assert several
    np.testing.assert_array_equal(images, [image, image])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"[[0, 1], [2]]", "lists of numbers that differ in length"),
        (b"[[0, 1], 2, 3]", "lists of numbers that differ in length"),
        (b"[[0, 1 2], [3, 4]]", "values that are not numbers"),
        (b"[[0, 1], [3, ]]", "values that are not numbers"),
        (b"[[0, 300], [3, 4]]", "the pixels range from 0 to 300"),
        (b"[[0.5, -2.1], [0.1, 0.4]]", "the pixels range from -2.1 to 0.5"),
        (b"[[[[[1]]]]]", "an array of 5 dimensions"),
        (b'{"instances": [[1, 2], [3, 4]]}', "the array's shape is [2, 2]; send a list of images"),
        (b"[[],[]]", "values that are not numbers"),
    ],
)
def test_other_json_of_numbers_is_refused(body: bytes, message: str) -> None:
    error = refusal("application/json", body)
    assert error.status == 400
    assert message in error.message


@given(st.binary(max_size=30) | st.text("[],1 .e-", max_size=40).map(str.encode))
def test_any_json_is_an_image_or_refused(body: bytes) -> None:
    with suppress(RequestError):
        read("application/json", b"[[" + body + b"]]")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("content_type", ["image/jpeg", "application/x-image", "application/octet-stream", None])
def test_base64_in_place_of_an_image(image: np.ndarray, kind: str, content_type: str | None) -> None:
    content = encode(image, kind)
    text = base64.b64encode(content)
    (expected,), _ = read("image/png", content)
    for body in (text, b"data:image/jpeg;base64," + text, b'"' + text + b'"\n', base64.encodebytes(content)):
        (rgb,), _ = read(content_type, body)
        np.testing.assert_array_equal(rgb, expected)
    (rgb,), _ = read("multipart/form-data; boundary=edge", form(('; name="image"; filename="a"', text)))
    np.testing.assert_array_equal(rgb, expected)


def test_broken_base64_in_place_of_an_image_is_called_so(png: bytes) -> None:
    error = refusal("image/png", base64.b64encode(png)[:-3])
    assert error.status == 400
    assert "is sent as base64, which cannot be decoded" in error.message


@pytest.mark.parametrize(
    "shape_of",
    [
        lambda text: {"image": text},
        lambda text: {"b64": text},
        lambda text: {"image": {"b64": text}},
        lambda text: text,
        lambda text: {"image": f"data:image/png;base64,{text}"},
        lambda text: {"image": text[:40] + "\n" + text[40:]},
    ],
)
def test_json_with_an_image(image: np.ndarray, png: bytes, shape_of: object) -> None:
    body = json.dumps(shape_of(base64.b64encode(png).decode())).encode()
    (rgb,), several = read("application/json; charset=utf-8", body)
    np.testing.assert_array_equal(rgb, image)
    assert not several


def test_json_with_instances_is_several_images_however_many(image: np.ndarray, png: bytes) -> None:
    text = base64.b64encode(png).decode()
    images, several = read("application/json", json.dumps({"instances": [{"b64": text}]}).encode())
    assert (len(images), several) == (1, True)
    entries = [{"b64": text}, {"image": text}, {"image": {"b64": text}}, text]
    images, _ = read("application/json", json.dumps({"instances": entries}).encode())
    np.testing.assert_array_equal(images, [image] * 4)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "not JSON"),
        (b"\xff\xfe\xfa", "not JSON"),
        (b"[" * 3000, "not JSON"),
        (b"{}", "holds no image"),
        (b"[1, 2]", "holds no image"),
        (b"null", "holds no image"),
        (b'{"image": 3}', "holds no image"),
        (b'{"image": {"image": {"image": "eA=="}}}', "holds no image"),
        (b'{"instances": []}', "instances"),
        (b'{"instances": {"b64": "eA=="}}', "instances"),
        (b'{"image": "no base64!"}', "not base64"),
        ('{"image": "grün"}'.encode(), "not base64"),
        (b'{"image": "eA="}', "not base64"),
        (b'{"image": "https://example.com/cat.jpg"}', "URLs are not fetched"),
        (b'{"image": "s3://bucket/cat.jpg"}', "URLs are not fetched"),
        (b'{"image": "file:/etc/passwd"}', "URLs are not fetched"),
        (b'{"image": "eA=="}', "not a JPEG"),
        (b'{"image": ""}', "empty"),
    ],
)
def test_other_json_is_refused(body: bytes, message: str) -> None:
    error = refusal("application/json", body)
    assert error.status == 400
    assert message in error.message


def test_a_bad_instance_is_named_by_its_number(png: bytes) -> None:
    entries = [base64.b64encode(content).decode() for content in (png, b"text", png)]
    assert refusal("application/json", json.dumps({"instances": entries}).encode()).message.startswith("image 2: ")


def test_images_are_decoded_one_at_a_time(png: bytes) -> None:
    entries = [base64.b64encode(content).decode() for content in (png, b"text")]
    decoded = images(read_json(json.dumps({"instances": entries}).encode(), most=8))
    assert next(decoded).shape == (32, 48, 3)


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


def instances(count: int) -> bytes:
    return json.dumps({"instances": [{"b64": "eA=="}] * count}).encode()


@pytest.mark.parametrize(
    ("content_type", "body", "message"),
    [
        ("application/json", instances(LIMITS.images + 1), "9 images in one request; the limit is 8"),
        ("application/json", b"[" + b"1," * 2_000_000 + b"1]", "over 8,000 values"),
        ("application/json", b'{"instances":[' + b"{}," * 2_000_000 + b"{}]}", "over 8,000 values"),
        ("application/json", b"[" * 100_000, "over 8,000 values"),
        ("application/jsonlines", b"{}\n" * (LIMITS.lines + 1), "101 lines in one request; the limit is 100"),
        ("application/jsonlines", b"\n" * 1_000_000, "1,000,000 lines"),
        ("application/jsonlines", b"[" * (MAX_VALUES // 2 + 1), "over 1,000 values"),
        ("application/jsonlines", b"{}\n[" + b"1," * MAX_VALUES + b"1]", "record 2: the JSON holds over 1,000 values"),
        ("application/x-npy", npy(np.zeros((9, 1, 1, 3), np.uint8)), "9 images in one request"),
        ("multipart/form-data; boundary=edge", form(*[('; filename="a"', b"x")] * 9), "9 images in one request"),
    ],
)
def test_more_than_the_limit_is_refused(content_type: str, body: bytes, message: str) -> None:
    error = last_error(content_type, body)
    assert error.status == 413
    assert message in error.message


def last_error(content_type: str, body: bytes) -> RequestError:
    """Of the request, or of its last record."""
    try:
        found = list(outcomes(choose_decoder(content_type, LIMITS)(body), PIXELS))
    except RequestError as error:
        return error
    assert isinstance(found[-1], RequestError)
    return found[-1]


def test_as_many_as_allowed_are_read(png: bytes) -> None:
    line = json.dumps({"image": base64.b64encode(png).decode(), "tags": [0] * (MAX_VALUES - 5)}).encode()
    half = LIMITS.lines // 2
    for end in (b"\n", b"\r\n"):
        images, several = read("application/jsonlines", (line + end) * half + end * half)
        assert (len(images), several) == (half, True)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/jsonlines", b"{}\n" * LIMITS.lines),
        ("application/json", b'{"instances": [' + b'"!",' * 7 + b"3]}"),
    ],
)
def test_a_bad_record_is_an_error_when_it_is_reached(content_type: str, body: bytes) -> None:
    """An error keeps alive what raised it: of all records at once that would be a gigabyte."""
    payload = choose_decoder(content_type, LIMITS)(body)
    assert not isinstance(payload.sources, list)
    found = list(outcomes(payload, PIXELS))
    assert len(found) == payload.count
    assert all(isinstance(outcome, RequestError) for outcome in found)


def test_json_with_a_byte_order_mark_and_text_in_other_languages(image: np.ndarray, png: bytes) -> None:
    text = json.dumps({"title": "Straße 通り 😀", "image": base64.b64encode(png).decode()}, ensure_ascii=False)
    (rgb,), _ = read("application/json", text.encode("utf-8-sig"))
    np.testing.assert_array_equal(rgb, image)


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


@pytest.mark.parametrize(
    "content_type", ["text/csv", "text/plain", "image/svg+xml", "video/mp4", "application/pdf", "nonsense", "image"]
)
def test_other_types_are_refused_with_a_list_of_those_that_are_read(content_type: str) -> None:
    with pytest.raises(RequestError) as raised:
        choose_decoder(content_type, LIMITS)
    assert raised.value.status == 415
    assert "image/jpeg" in raised.value.message
    assert content_type in raised.value.message


@pytest.mark.parametrize("content_type", [None, "application/x-www-form-urlencoded", "application/octet-stream"])
def test_untyped_text_is_refused_with_what_to_type(content_type: str | None) -> None:
    error = refusal(content_type, b"a,b,c\n1,2,3\n")
    assert error.status == 415
    assert "-H 'Content-Type: image/jpeg'" in error.message


def test_damaged_images_are_refused(image: np.ndarray, png: bytes) -> None:
    for body in (png[:100], encode(image, "JPEG")[:-50], b"hello", b""):
        assert refusal("image/jpeg", body).status == 400


def declared_png(width: int, height: int) -> bytes:
    """A PNG whose header declares a size, with next to no pixels."""
    chunks = [
        (b"IHDR", struct.pack(">II5B", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0" * 100)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )


def test_an_image_that_declares_too_many_pixels_is_refused_undecoded() -> None:
    error = refusal("image/png", declared_png(60_000, 60_000))
    assert error.status == 413
    assert "60000 × 60000" in error.message


def test_every_image_type_is_named_in_the_refusal_or_a_synonym() -> None:
    with pytest.raises(RequestError) as raised:
        choose_decoder("text/plain", LIMITS)
    unnamed = {name for name in IMAGE_TYPES if name not in raised.value.message}
    assert unnamed == {"image/jpg", "image/x-ms-bmp", "image/heif"}
