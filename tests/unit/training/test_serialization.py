"""Nested values as JSON and tensors."""

from __future__ import annotations

import json
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st

from byoc_vision.training.checkpoint_file import on_cpu, pack, unpack

PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
KEYS = st.text(max_size=5) | st.integers()
NESTED = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(NESTED)
def test_what_is_packed_comes_back(value: Any) -> None:
    tensors: dict[str, torch.Tensor] = {}
    text = json.dumps(pack(value, tensors))
    assert unpack(json.loads(text), tensors) == value
    assert not tensors


def test_tensors_keep_their_names_and_values() -> None:
    value = {"net": {"w": torch.randn(2, 3).T, "n": torch.tensor(3)}, "moments": [(torch.ones(1), 0.5)]}
    tensors: dict[str, torch.Tensor] = {}
    packed = json.loads(json.dumps(pack(value, tensors)))
    assert set(tensors) == {"net.w", "net.n", "moments.0.0"}
    back = unpack(packed, tensors)
    assert torch.equal(back["net"]["w"], value["net"]["w"])  # type: ignore[index, call-overload]
    assert back["moments"][0][1] == 0.5


def test_a_copy_shares_nothing() -> None:
    weight = torch.ones(2)
    copy = on_cpu({"w": [weight]})
    weight.zero_()
    assert copy["w"][0].tolist() == [1.0, 1.0]
