"""The table of SAGEMAKER clients: each spells the same value its own way."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc_vision.sagemaker_values import decode

PLAIN_V2 = {"adam": "adam", "True": True, "None": None, "[1, 2]": [1, 2], "{'a': 1}": {"a": 1}}
FRAMEWORK_V2 = {'"adam"': "adam", "true": True, "null": None, "[1, 2]": [1, 2], '{"a": 1}': {"a": 1}}
MODEL_TRAINER_V3 = {"adam": "adam", "true": True, "null": None, "[1, 2]": [1, 2], '{"a": 1}': {"a": 1}}
TUNER = {'"\\"32\\""': 32, '"\\"adam\\""': "adam"}


@pytest.mark.parametrize(
    ("text", "meant"), [pair for table in (PLAIN_V2, FRAMEWORK_V2, MODEL_TRAINER_V3, TUNER) for pair in table.items()]
)
def test_each_client_is_understood(text: str, meant: object) -> None:
    assert decode(text) == meant


@pytest.mark.parametrize("text", ["resnet-50", "10, 20 x", "s3://bucket/key", "it's", "[1, 2", "{", ""])
def test_text_stays_text(text: str) -> None:
    assert decode(text) == text


def test_a_deeply_nested_value_is_text_not_a_crash() -> None:
    assert decode("[" * 100_000) == "[" * 100_000


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@given(json_values)
def test_json_and_python_spellings_agree(value: object) -> None:
    assert decode(json.dumps(value)) == value
    assert decode(repr(value)) == value
    assert decode(json.dumps(json.dumps(value))) == value


@given(st.text(max_size=200))
def test_any_text_is_decoded_without_error(text: str) -> None:
    decode(text)
