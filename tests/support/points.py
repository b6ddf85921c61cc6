"""Points of a search space, as a tuner would draw them."""

from __future__ import annotations

from hypothesis import strategies as st

from byoc_vision.describe.space import Categorical, Integer, Range, SearchSpace


def points(space: SearchSpace) -> st.SearchStrategy[dict[str, str]]:
    """A value of each range, as hyperparameters.json spells it."""
    return st.fixed_dictionaries({found.name: _values(found) for found in space.ranges})


def _values(found: Range) -> st.SearchStrategy[str]:
    if isinstance(found, Categorical):
        return st.sampled_from(found.values)
    if isinstance(found, Integer):
        return st.integers(found.low, found.high).map(str)
    return st.floats(found.low, found.high).map(str)
