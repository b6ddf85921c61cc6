"""The regular expressions that SageMaker reads a job's log with, on lines that `fit` makes."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc_vision.describe.metrics import metric_definitions, metrics_in, read_epoch
from byoc_vision.errors import InputError
from byoc_vision.evaluation.epoch_record import EpochRecord, metrics_line, named

LONGEST_REGEX, MOST = 500, 40  # CreateTrainingJob's MetricDefinitions

ALL = metric_definitions()
NAMES = [name.removeprefix("validation:") for name in (it.name for it in ALL) if name.startswith("validation:")]


def test_they_fit_into_a_request() -> None:
    assert len(ALL) <= MOST
    assert all(len(definition.regex) <= LONGEST_REGEX for definition in ALL)
    assert len({definition.name for definition in ALL}) == len(ALL)
    assert all(re.compile(definition.regex).groups == 1 for definition in ALL)


@given(
    st.fixed_dictionaries(dict.fromkeys(NAMES, st.floats())),
    st.floats(0, 1e9),
    st.floats(1e-12, 1e3),
    st.integers(1, 10**6),
)
def test_a_line_gives_back_what_was_written_into_it(
    validation: dict[str, float], loss: float, rate: float, epoch: int
) -> None:
    """As precisely as it is written. Values that are not numbers are left out."""
    record = EpochRecord(epoch, rate, loss, validation, seconds=12.3, images_per_second=45.6, data_wait=0.07)
    found = metrics_in(record.line(), ALL)
    written = {"train:loss": loss, **named("validation", validation)}
    expected = {name: float(f"{value:.4f}") for name, value in written.items() if math.isfinite(value)}
    assert found == {
        **expected, "epoch": epoch, "learning_rate": float(f"{rate:.3g}"), "epoch_seconds": 12.3,
        "images_per_second": 45.6, "data_wait_percent": 7,
    }  # fmt: skip


@given(st.sampled_from(NAMES), st.floats(-1e6, 1e6) | st.just(float("nan")), st.integers(1, 10_000))
def test_a_metric_of_an_epoch_is_read_as_it_was_written(name: str, value: float, epoch: int) -> None:
    others = {f"{name}_cat": 0.25, "loss_scale": 0.5}
    line = EpochRecord(epoch, 1e-3, 0.1, {name: value, **others}, 12.5, 80.0, 0.05).line()
    assert read_epoch(line, f"validation:{name}") == (epoch, pytest.approx(value, abs=1e-4, nan_ok=True))
    assert read_epoch(line, "train:loss") == (epoch, 0.1)
    assert read_epoch(line, "validation:other") is None


@pytest.mark.parametrize(
    "line",
    ["", "epoch=", "epoch=one validation:dice=0.5", "Stopped early: no better dice", " epoch=1 validation:dice=0.5",
     "epoch=1 validation:dice=5%"],
)  # fmt: skip
def test_other_lines_have_no_epoch(line: str) -> None:
    assert read_epoch(line, "validation:dice") is None


@given(st.dictionaries(st.sampled_from(NAMES), st.floats(0, 1)))
def test_the_test_images_line(figures: dict[str, float]) -> None:
    found = metrics_in(metrics_line(named("test", figures)), ALL)
    assert found == {f"test:{name}": float(f"{value:.4f}") for name, value in figures.items()}


@pytest.mark.parametrize("line", ["Epoch 2: the encoder learns too", "best epoch=3", "validation:f1_cat=0.5000", ""])
def test_other_lines_say_nothing(line: str) -> None:
    assert metrics_in(line, ALL) == {}


def test_a_task_s_own() -> None:
    names = {definition.name for definition in metric_definitions("classification", multi_label=False, top_k=5)}
    assert {"validation:accuracy", "validation:top_5_accuracy", "test:f1", "train:loss"} <= names
    assert not {"validation:dice", "validation:map"} & names
    assert "validation:map" in {found.name for found in metric_definitions("classification")}


def test_single_classes() -> None:
    definitions = metric_definitions("segmentation", classes=["sign symbol", "c+s"])
    line = "validation:iou_c+s=0.5000 validation:iou_sign_symbol=0.2500 validation:iou_sign_symbol_b=0.1000"
    assert metrics_in(line, definitions) == {"validation:iou_c+s": 0.5, "validation:iou_sign_symbol": 0.25}


def test_too_many_classes() -> None:
    most = MOST - len(metric_definitions("segmentation"))
    assert len(metric_definitions("segmentation", classes=[f"c{index}" for index in range(most)])) == MOST
    with pytest.raises(InputError, match=f"classes: {most + 1} are too many.*name {most} or fewer"):
        metric_definitions("segmentation", classes=[f"c{index}" for index in range(most + 1)])


def test_classes_are_a_task_s() -> None:
    with pytest.raises(InputError, match="name segmentation or classification"):
        metric_definitions(classes=["cat"])
