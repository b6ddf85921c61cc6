from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc_vision.training.history import EarlyStopping


def stopped_in(stopping: EarlyStopping, values: list[float]) -> int | None:
    """The epoch, counted from 1, after which training stops."""
    return next((epoch for epoch, value in enumerate(values, start=1) if stopping.should_stop(epoch, value)), None)


@pytest.mark.parametrize(
    ("stopping", "values", "epoch"),
    [
        (EarlyStopping(patience=2), [0.5, 0.6, 0.6, 0.6], 4),
        (EarlyStopping(patience=2), [0.5, 0.4, 0.6, 0.5, 0.5], 5),
        (EarlyStopping(patience=2), [0.1, 0.2, 0.3, 0.4], None),
        (EarlyStopping(patience=2, mode="min"), [0.5, 0.4, 0.4, 0.5], 4),
        (EarlyStopping(patience=1, min_epochs=4), [0.5, 0.4, 0.3, 0.2, 0.1], 4),
        (EarlyStopping(patience=2, tolerance=0.1), [0.5, 0.55, 0.59, 0.7], 3),
        (EarlyStopping(patience=3, tolerance=0.1), [0.5, 0.55, 0.59, 0.7, 0.7], None),
        (EarlyStopping(patience=2), [float("nan"), float("nan")], 2),
        (EarlyStopping(patience=2), [0.5, float("nan"), 0.6, 0.6], None),
    ],
)
def test_it_stops_after_patience_epochs_without_improvement(
    stopping: EarlyStopping, values: list[float], epoch: int | None
) -> None:
    assert stopped_in(stopping, values) == epoch


figures = st.lists(st.floats(0, 1), min_size=1, max_size=20)


@given(figures, st.integers(1, 4), st.integers(0, 6), st.integers(0, 19))
def test_one_that_is_resumed_goes_on_as_if_it_had_not_stopped(
    values: list[float], patience: int, min_epochs: int, cut: int
) -> None:
    whole = EarlyStopping(patience, min_epochs)
    first = EarlyStopping(patience, min_epochs)
    answers = [whole.should_stop(epoch, value) for epoch, value in enumerate(values, start=1)]
    before = [first.should_stop(epoch, value) for epoch, value in enumerate(values[:cut], start=1)]
    resumed = EarlyStopping(patience, min_epochs)
    resumed.load_state_dict(first.state_dict())
    after = [resumed.should_stop(epoch, value) for epoch, value in enumerate(values[cut:], start=cut + 1)]
    assert before + after == answers


@given(figures, st.integers(1, 4))
def test_less_is_the_mirror_image_of_more(values: list[float], patience: int) -> None:
    more = stopped_in(EarlyStopping(patience, mode="max"), values)
    less = stopped_in(EarlyStopping(patience, mode="min"), [-value for value in values])
    assert more == less
