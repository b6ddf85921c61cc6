"""Images in every form in which a request may bring them."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from support.images import encode, handmade_png, npy
from support.parsers import outcomes
from support.request_bodies import LIMITS, PIXELS, form, read, refusal

from byoc_serve.decode import IMAGE_TYPES, MAX_VALUES, choose_decoder
from byoc_vision.errors import RequestError


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


def test_an_image_that_declares_too_many_pixels_is_refused_undecoded() -> None:
    error = refusal("image/png", handmade_png((60_000, 60_000, 8, 2), bytes(100)))
    assert error.status == 413
    assert "60000 × 60000" in error.message


def test_every_image_type_is_named_in_the_refusal_or_a_synonym() -> None:
    with pytest.raises(RequestError) as raised:
        choose_decoder("text/plain", LIMITS)
    unnamed = {name for name in IMAGE_TYPES if name not in raised.value.message}
    assert unnamed == {"image/jpg", "image/x-ms-bmp", "image/heif"}
