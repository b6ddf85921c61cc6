"""Whatever is sent, the answer is never a 5xx and always JSON where it is an error."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.images import encode, npy

from byoc_serve.response_format import ResponseFormat

# Pillow grumbles over damaged images, and then raises.
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:PIL"),
    pytest.mark.filterwarnings("ignore:Reading `.npy`:UserWarning"),  # an L put behind a number: Python 2 wrote so
]

PICTURE = np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)
PNG = encode(PICTURE)
FORM = b'--e\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n' + PNG + b"\r\n--e--\r\n"
SEEDS = [
    *(encode(PICTURE, kind) for kind in ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")),
    encode(PICTURE[..., 0]),
    npy(PICTURE),
    npy(np.stack([PICTURE, PICTURE])),
    FORM,
    json.dumps({"image": base64.b64encode(PNG).decode()}).encode(),
    json.dumps({"instances": [{"b64": base64.b64encode(PNG).decode()}] * 2}).encode(),
]
LATIN = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=40)  # what a header can hold
CONTENT_TYPES = (
    st.sampled_from(
        [
            "image/png",
            "image/jpeg",
            "application/x-image",
            "application/x-npy",
            "application/json",
            "application/json; charset=utf-16",
            "multipart/form-data; boundary=e",
            "multipart/form-data",
            "application/octet-stream",
            "application/x-www-form-urlencoded",
            "",
        ]
    )
    | LATIN
)
ACCEPTS = st.sampled_from(["*/*", *(form.value for form in ResponseFormat)]) | LATIN


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A good body with bytes changed, a part cut out or bytes put in."""
    body = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(body)))
        end = draw(st.integers(start, min(len(body), start + 64)))
        body[start:end] = draw(st.binary(max_size=16))
    return bytes(body)


BODIES = st.binary(max_size=300) | mutated() | st.sampled_from(SEEDS)


def check(client: FlaskClient, body: bytes, content_type: str, accept: str, attributes: str = "") -> None:
    headers = {"Accept": accept, "X-Amzn-SageMaker-Custom-Attributes": attributes}
    response = client.post("/invocations", data=body, content_type=content_type, headers=headers)
    assert response.status_code in (200, 400, 406, 413, 415), response.get_data(as_text=True)
    if response.status_code != 200:
        assert response.get_json()["error"]


# The app is the same for all examples: none may change it.
EXAMPLES = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@EXAMPLES
@given(BODIES, CONTENT_TYPES, ACCEPTS)
def test_masks(masks: FlaskClient, body: bytes, content_type: str, accept: str) -> None:
    check(masks, body, content_type, accept)


@EXAMPLES
@given(BODIES, CONTENT_TYPES, ACCEPTS, LATIN)
def test_classes(labels: FlaskClient, body: bytes, content_type: str, accept: str, attributes: str) -> None:
    check(labels, body, content_type, accept, attributes)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.just(base64.b64encode(PNG).decode()),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["image", "b64", "instances", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@EXAMPLES
@given(JSON)
def test_json(labels: FlaskClient, document: object) -> None:
    check(labels, json.dumps(document).encode(), "application/json", "*/*")


@EXAMPLES
@given(LATIN, st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH"]))
def test_paths(labels: FlaskClient, path: str, method: str) -> None:
    response = labels.open(method=method, data=b"x", environ_overrides={"PATH_INFO": "/" + path})
    assert response.status_code in (200, 404, 405, 308)
