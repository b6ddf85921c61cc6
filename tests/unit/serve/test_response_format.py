"""Accept headers, as browsers, SDKs and people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc_serve.response_format import RESPONSE_FORMATS, ResponseFormat, choose_format
from byoc_vision.errors import RequestError


@pytest.mark.parametrize("accept", [None, "", "  ", "*/*", "*/*;q=0.1", "text/html, */*;q=0.8", "*"])
def test_without_a_preference_the_task_decides(accept: str | None) -> None:
    assert choose_format(accept, "segmentation") is ResponseFormat.PNG
    assert choose_format(accept, "classification") is ResponseFormat.JSON


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("application/json", ResponseFormat.JSON),
        ("APPLICATION/JSON; charset=utf-8", ResponseFormat.JSON),
        ("image/png", ResponseFormat.PNG),
        ("image/*", ResponseFormat.PNG),
        ("application/*", ResponseFormat.JSON),
        ("application/x-npy", ResponseFormat.NPY),
        ("application/jsonlines", ResponseFormat.JSON_LINES),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8", ResponseFormat.PNG),
        ("application/json, text/plain, */*", ResponseFormat.JSON),  # the first of equals
        ("image/png;q=0.5, application/json", ResponseFormat.JSON),
        ("image/jpeg, application/x-npy;q=0.2", ResponseFormat.NPY),
        ("*/*, image/png;q=0", ResponseFormat.JSON),
        ("image/png;q=nonsense, application/json", ResponseFormat.JSON),
    ],
)
def test_the_preferred_format(accept: str, form: ResponseFormat) -> None:
    assert choose_format(accept, "segmentation") is form


def test_classifiers_offer_a_vector() -> None:
    assert choose_format("application/json; view=vector", "classification") is ResponseFormat.VECTOR
    assert choose_format('application/json;view="vector";q=0.5', "classification") is ResponseFormat.VECTOR


@pytest.mark.parametrize(
    ("task", "accept"),
    [
        ("classification", "image/png"),
        ("classification", "application/json; view=matrix"),
        ("segmentation", "application/json; view=vector"),
        ("segmentation", "image/jpeg"),
        ("segmentation", "text/csv, application/xml"),
        ("segmentation", "image/png;q=0"),
        ("segmentation", "nonsense"),
        ("segmentation", ","),
    ],
)
def test_an_error_lists_the_formats(task: str, accept: str) -> None:
    with pytest.raises(RequestError, match="application/x-npy") as raised:
        choose_format(accept, task)
    assert raised.value.status == 406


@given(st.text())
def test_no_header_breaks_it(accept: str) -> None:
    try:
        form = choose_format(accept, "segmentation")
    except RequestError as error:
        status = error.status
    else:
        status = 200 if form in RESPONSE_FORMATS["segmentation"] else 0
    assert status in (200, 406)
