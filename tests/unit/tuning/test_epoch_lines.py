"""What is read of a job's log is what the job wrote."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byoc_vision.training.history import EpochRecord, epoch_line
from byoc_vision.training.metric_names import class_key
from byoc_vision.tuning.epoch_lines import read_epoch

NUMBERS = st.floats(-1e6, 1e6) | st.just(float("nan"))
NAMES = st.sampled_from(["dice", "miou", "loss", "f1"]) | st.text(min_size=1).map(lambda name: f"iou_{class_key(name)}")


@settings(max_examples=40)
@given(st.integers(1, 10_000), NUMBERS, st.dictionaries(NAMES, NUMBERS, max_size=6))
def test_a_line_is_read_as_it_was_written(epoch: int, loss: float, figures: dict[str, float]) -> None:
    line = epoch_line(EpochRecord(epoch, 1e-3, loss, figures, 12.5, 80.0, 0.05))
    found = read_epoch(line)
    assert found is not None
    assert found.epoch == epoch
    assert found.figures["train:loss"] == pytest.approx(loss, abs=1e-4, nan_ok=True)
    for name, value in figures.items():
        assert found.figures[f"validation:{name}"] == pytest.approx(value, abs=1e-4, nan_ok=True)
    assert found.figures["images_per_second"] == 80


@pytest.mark.parametrize(
    "line",
    ["", "epoch=", "epoch=one validation:dice=0.5", "Stopped early: no better dice", " epoch=1 validation:dice=0.5"],
)
def test_other_lines_are_none(line: str) -> None:
    assert read_epoch(line) is None


def test_what_is_no_number_is_left_out() -> None:
    found = read_epoch("epoch=3 validation:dice=0.9876 data_wait=5% note=none")
    assert found is not None
    assert found.figures == {"validation:dice": 0.9876}
