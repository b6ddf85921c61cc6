"""JSON and JSON Lines with images: as base64 or as numbers."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.parsers import outcomes
from support.request_bodies import LIMITS, PIXELS, images, read, refusal

from byoc_serve.decode import MAX_VALUES, choose_decoder, read_json
from byoc_vision.errors import RequestError


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


def test_as_many_as_allowed_are_read(png: bytes) -> None:
    line = json.dumps({"image": base64.b64encode(png).decode(), "tags": [0] * (MAX_VALUES - 5)}).encode()
    half = LIMITS.lines // 2
    for end in (b"\n", b"\r\n"):
        images, several = read("application/jsonlines", (line + end) * half + end * half)
        assert (len(images), several) == (half, True)
