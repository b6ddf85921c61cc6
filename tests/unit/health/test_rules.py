"""Rules of epochs and of the machine, on figures that are known beforehand."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byoc_vision.data.augmentation import build_augmentation
from byoc_vision.data.image_dataset import ImageDataset
from byoc_vision.data.sample_data import make_classification_set
from byoc_vision.data.samples import Sample
from byoc_vision.evaluation.epoch_record import EpochRecord
from byoc_vision.health.facts import DataFacts, EpochFacts, Loading, Silence, Waiting
from byoc_vision.health.loader_diagnosis import measure
from byoc_vision.health.monitor import HealthMonitor
from byoc_vision.health.tensor_stats import FIRST, LEAST, MOST, SHARE, Pace
from byoc_vision.hyperparameters.health import read_settings
from byoc_vision.preprocess import Preprocess
from byoc_vision.report.record import Reading, Times
from byoc_vision.training.callbacks.health import StallWatch
from byoc_vision.types import ClassInfo

GIB = 1024**3


def epochs(train: Sequence[float], validation: Sequence[float], dice: Sequence[float]) -> list[EpochRecord]:
    return [
        EpochRecord(number, 1e-3, loss, {"loss": other, "dice": figure}, 1.0)
        for number, (loss, other, figure) in enumerate(zip(train, validation, dice, strict=True), start=1)
    ]


def fired(records: list[EpochRecord], **facts: object) -> set[str]:
    """The rules that fire in the course of these epochs."""
    monitor = HealthMonitor()
    usual: dict[str, object] = {"objective": "dice", "mode": "max", "planned": 50} | facts
    for count in range(1, len(records) + 1):
        monitor.judge(EpochFacts(epochs=records[:count], **usual), count)  # type: ignore[arg-type]
    return {finding.rule for finding in monitor.findings}


LEARNS = [1.0, 0.8, 0.6, 0.5, 0.42, 0.36, 0.3, 0.26]
BETTER = [0.3, 0.5, 0.6, 0.7, 0.74, 0.77, 0.8, 0.82]


def test_a_run_that_learns() -> None:
    assert fired(epochs(LEARNS, [loss * 1.1 for loss in LEARNS], BETTER)) == set()


def test_a_gap_alone_is_not_overfitting() -> None:
    assert fired(epochs(LEARNS, [loss * 2 for loss in LEARNS], BETTER)) == set()


def test_a_run_that_overfits_and_goes_on() -> None:
    validation = [1.0, 0.8, 0.85, 0.9, 0.95, 1.0, 1.1, 1.2]
    figures = [0.3, 0.5, 0.49, 0.48, 0.47, 0.46, 0.45, 0.44]
    assert fired(epochs(LEARNS, validation, figures)) == {"Overfit", "Overtraining"}
    assert fired(epochs(LEARNS, validation, figures), stops_early=True) == {"Overfit"}


def test_a_loss_that_rises_while_the_metric_improves_is_not_overtraining() -> None:
    assert fired(epochs(LEARNS, [1.0, 0.8, 0.85, 0.9, 0.95, 1.0, 1.1, 1.2], BETTER)) == {"Overfit"}


def test_a_run_that_learns_nothing() -> None:
    flat = [1.1, 1.101, 1.1, 1.099, 1.1, 1.1005]
    assert fired(epochs(flat, flat, [0.2, 0.2, 0.2, 0.2, 0.2, 0.2])) == {"LossNotDecreasing", "Plateau"}


def test_the_end_of_a_schedule_is_not_a_plateau() -> None:
    records = epochs([1.0, *[0.2] * 7], [1.0, *[0.2] * 7], [0.3, *[0.9] * 7])
    falling = [
        EpochRecord(record.epoch, 1e-3 / 20 if record.epoch > 2 else 1e-3, record.train_loss, record.validation, 1.0)
        for record in records
    ]
    assert fired(records) == {"Plateau"}
    assert fired(falling) == set()


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.floats(allow_nan=True, allow_infinity=True)] * 3), min_size=1, max_size=12))
def test_rules_accept_any_metrics(figures: list[tuple[float, float, float]]) -> None:
    fired(epochs(*zip(*figures, strict=True)))


def waiting(loading: Loading, share: float = 0.4, seconds: float = 5.0, shares: Sequence[float] = ()) -> Waiting:
    return Waiting(share, seconds, lambda: loading, "set cache=auto", shares)


SOUND = epochs(LEARNS[:2], LEARNS[:2], BETTER[:2])
DECODING = Loading(disk=0.001, decode=0.02, augment=0.005)


def test_what_a_training_waits_for() -> None:
    assert fired(SOUND, waiting=waiting(DECODING)) == {"CPUBottleneck"}
    assert fired(SOUND, waiting=waiting(Loading(disk=0.05, decode=0.02, augment=0.005))) == {"IOBottleneck"}


@pytest.mark.parametrize(("share", "seconds"), [(0.09, 500.0), (0.9, 0.5)])
def test_waiting_that_is_not_worth_a_warning_is_not_measured(share: float, seconds: float) -> None:
    def never() -> Loading:
        raise AssertionError

    assert fired(SOUND, waiting=Waiting(share, seconds, never)) == set()


def test_the_first_epoch_may_wait() -> None:
    assert fired(SOUND[:1], waiting=waiting(DECODING)) == set()


def test_where_the_time_of_an_image_goes(tmp_path: Path) -> None:
    make_classification_set(tmp_path, count_train=12, count_validation=4, size=64)
    files = sorted((tmp_path / "train").rglob("*.*"))
    rule, samples = Preprocess(height=32, width=32), [Sample(file, label=0) for file in files]
    augmentation = build_augmentation("strong", "classification", folder=None, size=(32, 32))
    images = ImageDataset(samples, [ClassInfo("one")], rule, augmentation)
    loading = measure(images, cached=False)
    assert loading.disk > 0
    assert loading.decode > 0
    assert measure(images, cached=True).disk == 0
    files[0].write_bytes(b"no image")
    assert measure(images, cached=False).decode > 0


def test_one_process_that_waits_for_all() -> None:
    assert fired(SOUND, waiting=waiting(DECODING, 0.01, 0.0, shares=(0.02, 0.5, 0.03))) == {"LoadBalancing"}
    assert fired(SOUND, waiting=waiting(DECODING, 0.01, 0.0, shares=(0.4, 0.5, 0.45))) == set()


def readings(use: float, memory: float, count: int = 100) -> Times:
    return Times(
        readings=[Reading(seconds=second, gpu=use, gpu_memory=int(memory * 16 * GIB)) for second in range(count)],
        gpu_memory_limit=16 * GIB,
    )


@pytest.mark.parametrize(
    ("times", "rules"),
    [
        (readings(0.5, 0.3), {"BatchSize", "LowGPUUtilization"}),
        (readings(0.5, 0.9), {"LowGPUUtilization"}),
        (readings(0.95, 0.3), set()),
        (readings(0.1, 0.1, count=10), set()),
        (Times(), set()),
    ],
)
def test_a_gpu_that_is_not_in_full_use(times: Times, rules: set[str]) -> None:
    assert fired(SOUND, times=times) == rules


def test_memory_that_grows_from_epoch_to_epoch() -> None:
    assert fired(SOUND, peaks=[GIB, 4 * GIB, 5 * GIB, 6 * GIB, 7 * GIB]) == {"GPUMemoryIncrease"}
    assert fired(SOUND, peaks=[GIB, 4 * GIB, 5 * GIB, 5 * GIB, 7 * GIB]) == set()


def test_steps_that_take_too_long() -> None:
    assert fired(SOUND, step_seconds=[0.1] * 30) == set()
    assert fired(SOUND, step_seconds=[0.1] * 30 + [2.0]) == {"StepOutlier"}


def test_unbalanced_classes() -> None:
    for task, amounts, fires in (
        ("classification", {"cat": 900.0, "dog": 30.0}, True),
        ("classification", {"cat": 90.0, "dog": 30.0}, False),
        ("segmentation", {"sky": 0.9, "car": 0.1}, False),
        ("segmentation", {"sky": 0.999, "car": 0.001}, True),
    ):
        for balanced in (False, True):
            monitor = HealthMonitor()
            monitor.judge(DataFacts(task, amounts, balanced), 1)  # type: ignore[arg-type]
            assert bool(monitor.findings) == (fires and not balanced)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_training_that_makes_no_steps_is_noticed() -> None:
    monitor, clock = HealthMonitor(read_settings("warn", "StalledTraining.seconds=1")), Clock()
    watch = StallWatch(1.0, lambda silence: monitor.judge(silence, 1), clock)
    for _ in range(60):
        clock.now += 0.9
        watch.look()
        watch.beat()
    assert not monitor.findings
    clock.now += 1.1
    watch.look()
    assert "no step has ended for 1 s" in monitor.findings[0].evidence


def test_another_thread_says_where_a_training_stands() -> None:
    heard = threading.Event()
    found: list[Silence] = []

    def tell(silence: Silence) -> None:
        found.append(silence)
        heard.set()

    watch = StallWatch(0.01, tell)
    watch.start()
    assert heard.wait(60)
    watch.stop()
    assert found[0].where.startswith("threading.py")


def test_a_fault_is_reported_once_and_again_when_it_is_twice_as_bad(caplog: pytest.LogCaptureFixture) -> None:
    monitor = HealthMonitor(read_settings("LoadBalancing=stop", ""))
    with caplog.at_level(logging.WARNING):
        for most in (0.25, 0.3, 0.45, 0.75):
            facts = EpochFacts(SOUND, "dice", "max", 9, waiting=waiting(DECODING, 0.0, 0.0, shares=(0.0, most)))
            monitor.judge(facts, 2)
    assert [finding.evidence.split()[6] for finding in monitor.findings] == ["25%", "75%"]
    assert "The training stops, since health_action says LoadBalancing=stop" in caplog.text

    resumed = HealthMonitor()
    resumed.load_state_dict(monitor.state_dict())
    resumed.judge(facts, 3)
    assert len(resumed.findings) == 2
    assert resumed.stopped_by is None


@settings(deadline=None)
@given(st.floats(1e-4, 1.0), st.floats(0, 20))
def test_looks_are_so_seldom_that_they_cost_next_to_nothing(step: float, times: float) -> None:
    pace, looks = Pace(), []
    for number in range(1, 200):
        looks += [number] if pace.is_due else []
        cost = times * step if pace.is_due else 0.0
        pace.step_ended(step + cost, cost)
    assert looks[:FIRST] == [1, 2, 3]
    assert LEAST <= pace.interval <= MOST
    if LEAST < pace.interval < MOST:
        assert times * step / pace.interval <= SHARE * step * 1.001
