from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc_vision.data.rle import Runs, decode, encode


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 256), st.integers(0, 2**16))
def test_a_mask_comes_back(height: int, width: int, values: int, seed: int) -> None:
    mask = np.random.default_rng(seed).integers(0, values, (height, width)).astype(np.uint8)
    restored = decode(encode(mask), height, width)
    np.testing.assert_array_equal(restored, mask)
    assert restored.dtype == np.uint8


def test_a_mask_of_one_object_is_small() -> None:
    mask = np.zeros((1280, 1918), np.uint8)
    mask[300:900, 400:1500] = 1
    assert encode(mask).nbytes < mask.nbytes / 300


def test_runs_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="reshape"):
        decode(Runs(np.array([3], np.uint32), np.array([1], np.uint8)), 2, 2)
