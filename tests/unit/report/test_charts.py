"""What the curves show, before anything is drawn."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import records

from byoc_vision.report import charts, formatting
from byoc_vision.report.charts import Chart, Mark, Series, averaged, thinned, ticks
from byoc_vision.report.record import Reading, Record


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Record:
    return records.segmentation_job(tmp_path_factory.mktemp("job"), epochs=24)


def test_the_curves_of_a_job(job: Record) -> None:
    by_key = {chart.key: chart for chart in charts.curves(job)}
    assert [line.name for line in by_key["loss"].series] == ["training", "validation"]
    assert [line.name for line in by_key["metrics"].series] == ["Dice", "mIoU"]
    assert [line.name for line in by_key["classes"].series] == ["background", "car"]
    assert by_key["loss"].series[0].values == [epoch.train_loss for epoch in job.epochs]
    assert by_key["metrics"].marks == [Mark(16, "best"), Mark(24, "stopped")]


def test_the_objective_comes_first(job: Record) -> None:
    other = job.model_copy(update={"objective": "validation:miou"})
    assert charts.overall_metrics(other) == ["miou", "dice"]


def test_the_best_epoch_may_be_the_last(job: Record) -> None:
    assert charts.marks(job.model_copy(update={"best_epoch": 24})) == [Mark(24, "best, stopped")]
    assert charts.marks(job.model_copy(update={"best_epoch": None, "state": "finished"})) == []


def test_numbers_that_are_none_leave_gaps(job: Record) -> None:
    first = job.epochs[0].model_copy(update={"train_loss": float("nan"), "validation": {}})
    loss = charts.curves(job.model_copy(update={"epochs": [first, job.epochs[1]]}))[0]
    assert loss.series[0].values[0] is None
    assert loss.series[1].values[0] is None
    assert "in epoch 2." in loss.description


def test_only_what_has_any_size_is_drawn_by_its_powers() -> None:
    line = [Series("loss", [0.01, None, 50.0], 0)]
    assert Chart("loss", "Loss", "epoch", [1, 2, 3], line, may_be_log=True).logarithmic
    assert not Chart("dice", "Dice", "epoch", [1, 2, 3], line).logarithmic
    with_zero = [Series("loss", [0.0, 1.0, 50.0], 0)]
    assert not Chart("loss", "Loss", "epoch", [1, 2, 3], with_zero, may_be_log=True).logarithmic


def test_many_epochs_are_thinned_around_the_best(job: Record) -> None:
    epochs = [job.epochs[0].model_copy(update={"epoch": epoch}) for epoch in range(1, 5_001)]
    shown = [epoch.epoch for epoch in thinned(epochs, keep=1_234)]
    assert len(shown) <= charts.MOST_POINTS
    assert {1, 1_234, 5_000} <= set(shown)
    assert shown == sorted(shown)


def test_many_readings_are_averaged() -> None:
    readings = [Reading(seconds=place, cpu=place % 2, gpu=None, memory=place) for place in range(10_000)]
    shown = averaged(readings)
    assert len(shown) == 500
    assert all(reading.cpu == pytest.approx(0.5) and reading.gpu is None for reading in shown)
    assert shown[-1].memory == pytest.approx(9_989.5, abs=1)


def test_readings_without_a_gpu_have_no_line_for_one(tmp_path: Path) -> None:
    times = records.classification_job(tmp_path).times
    use, memory = charts.machine(times)
    assert [line.name for line in use.series] == ["CPU"]
    assert memory.note == "Available: 64 GB of memory."


@settings(max_examples=40)
@given(st.floats(1e-3, 1e12), st.integers(3, 9))
def test_ticks_are_round_and_few(last: float, most: int) -> None:
    found = ticks(last, most)
    assert found[0] == 0
    assert 2 <= len(found) <= most + 1
    assert found[-1] <= last * (1 + 1e-9)
    assert float(f"{found[1]:.1g}") == pytest.approx(found[1])


@settings(max_examples=40)
@given(st.floats(0, 1e7))
def test_times_are_ticked_in_their_own_steps(last: float) -> None:
    found = ticks(last, 5, charts.TIME_STEPS)
    assert len(found) <= 6
    assert all(formatting.duration(value) for value in found)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (formatting.number(0.95219), "0.9522"),
        (formatting.number(3.1e-9), "3.1e-09"),
        (formatting.number(float("nan")), "–"),
        (formatting.number(12345.678), "12,345.7"),
        (formatting.share(0.931), "93.1 %"),
        (formatting.share(0.00012), "0.012 %"),
        (formatting.duration(0), "0 s"),
        (formatting.duration(0.0123), "12.3 ms"),
        (formatting.duration(59.96), "60 s"),
        (formatting.duration(200), "3 min 20 s"),
        (formatting.duration(3_725), "1 h 02 min"),
        (formatting.duration(200_000), "2 d 07 h"),
        (formatting.memory(11_200_000_000), "11.2 GB"),
        (formatting.memory(0), "0 B"),
        (formatting.many(8_000_000), "8 M"),
        (formatting.many(72_000), "72,000"),
        (formatting.setting([1, None]), "1, –"),
        (formatting.setting(True), "true"),
        (formatting.capital("mIoU of all"), "mIoU of all"),
        (formatting.capital("pixel accuracy"), "Pixel accuracy"),
    ],
)
def test_numbers_in_words(said: str, expected: str) -> None:
    assert said == expected
