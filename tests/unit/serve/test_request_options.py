"""A request's options, from its query string and from SageMaker's header."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, fields
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byoc_serve.request_options import OPTIONS, RequestOptions, read_options
from byoc_vision.errors import RequestError
from byoc_vision.inference.options import LARGEST_TILE, SMALLEST_TILE

FEW = settings(max_examples=40, deadline=None)

NAMES = [item.name for item in fields(RequestOptions)]
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "tile": st.just("auto") | st.integers(SMALLEST_TILE, LARGEST_TILE),
    "tta": st.sampled_from(["none", "flip", "flips"]),
    "threshold": st.floats(0, 1, exclude_min=True, exclude_max=True, width=16),
    "palette": st.booleans(),
    "view": st.sampled_from(["overlay", "vector"]),
    "errors": st.sampled_from(["fail", "line"]),
}
WISHES = st.fixed_dictionaries({}, optional=VALUES)
FREE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)  # what people put into the header


def written(options: dict[str, Any]) -> dict[str, str]:
    return {name: str(value).lower() for name, value in options.items()}


def refusal(query: str = "", attributes: str = "") -> str:
    with pytest.raises(RequestError) as raised:
        read_options(query, attributes)
    assert raised.value.status == 400
    return raised.value.message


@given(WISHES)
@FEW
def test_options_are_read_from_query_and_header(options: dict[str, Any]) -> None:
    query = urlencode(written(options))
    expected = RequestOptions(**options)
    assert read_options(query, "") == expected
    for separator in (";", ",", " ; "):
        text = separator.join(f"{name}={value}" for name, value in written(options).items())
        assert read_options("", text) == expected
        assert read_options("", f"trace=1{separator}{text}{separator}hello") == expected


def test_every_option_is_explained() -> None:
    assert list(OPTIONS) == NAMES == list(VALUES)


def test_without_options_all_are_none() -> None:
    assert set(asdict(read_options("", "")).values()) == {None}


def test_the_query_string_wins() -> None:
    wishes = read_options("threshold=0.3", "threshold=0.7;palette=true")
    assert (wishes.threshold, wishes.palette) == (0.3, True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("tile", value) for value in ("", "31", "4097", "-64", "64.5", "full", "9" * 20, "٦٤")),
        ("tta", "rotate"),
        *(("threshold", value) for value in ("0", "1", "1.5", "-0.5", "nan", "inf", "half", "", "0_1")),
        *(("palette", value) for value in ("1", "yes", "")),
        ("view", "mask"),
        ("errors", "ignore"),
    ],
)
def test_an_invalid_value_is_an_error_that_names_the_valid_ones(name: str, value: str) -> None:
    message = refusal(urlencode({name: value}))
    assert f"{name}={value}" in message
    assert f"{name} is " in message
    if value.isascii():
        assert refusal(attributes=f"x=1;{name}={value}") == message


@pytest.mark.parametrize(
    ("query", "hint"),
    [
        ("treshold=0.3", "did you mean threshold?"),
        ("Tile=64", "did you mean tile?"),
        ("speed=9", "the options are tile, tta"),
    ],
)
def test_an_unknown_name_in_the_query_is_an_error_that_names_the_nearest(query: str, hint: str) -> None:
    assert hint in refusal(query)


def test_twice_is_an_error_unless_it_is_the_same() -> None:
    assert "given twice" in refusal("threshold=0.3&threshold=0.4")
    assert read_options("tile=64&tile=64", "").tile == 64


@given(FREE)
@FEW
def test_the_header_is_its_senders_own(text: str) -> None:
    if not any(name in text for name in NAMES):
        assert read_options("", text) == RequestOptions()


@given(st.text(max_size=40) | FREE)
@FEW
def test_every_query_is_read_or_refused(query: str) -> None:
    with suppress(RequestError):
        assert isinstance(read_options(query, ""), RequestOptions)


@pytest.mark.parametrize("query", ["%ff=1", "&".join("tile=64" for _ in range(101))])
def test_an_invalid_query_string_is_refused(query: str) -> None:
    assert "query string" in refusal(query)
