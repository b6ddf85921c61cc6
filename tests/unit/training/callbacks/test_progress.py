"""Lines of a training whose steps take as long as a test says."""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime
from typing import Any

import pytest
import torch
from support.tracked import record_of

from byoc_vision.describe.metrics import metric_definitions, metrics_in, read_epoch
from byoc_vision.progress import Schedule
from byoc_vision.report.record import Reading
from byoc_vision.training.batch_layout import Length
from byoc_vision.training.callbacks.progress import TimeToFirstStep, TrainingProgress, Work, machine_values

STEPS, IMAGES = 100, 8


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class Training:
    """Steps of `IMAGES` images; the first ones of the job take 10 s each."""

    def __init__(self, clock: Clock, epochs: int = 3, steps: int = STEPS, **options: Any) -> None:
        self.clock = clock
        work = Work(Length(epochs * steps, steps), **{"validation": 80, **options.pop("work", {})})
        self.progress = TrainingProgress(
            torch.device("cpu"),
            work,
            rate=lambda: 0.001,
            now=lambda: datetime(2026, 3, 1, 12, 0, tzinfo=UTC),
            schedule=Schedule(clock),
            elapsed=lambda: clock.seconds,
            **options,
        )
        self.progress.train_begin(record_of(0))

    def epoch(self, number: int, steps: int = STEPS, *, seconds: float = 1.0, first: int = 0) -> None:
        self.progress.epoch_begin(number, first)
        for step in range(first, steps):
            self.clock.seconds += 10 if number == 1 and step < 5 else seconds
            self.progress.batch_moved(torch.zeros(IMAGES, 3, 1, 1), torch.zeros(IMAGES))
            self.progress.loss_computed(torch.zeros(1), torch.tensor(1 / (step + 1)))
            self.progress.step_end()

    def validation(self, number: int, seconds: float) -> None:
        self.progress.epoch_trained()
        self.clock.seconds += seconds
        self.progress.epoch_end(record_of(number))


def lines(caplog: pytest.LogCaptureFixture, start: str = "progress:") -> list[str]:
    return [record.message for record in caplog.records if record.message.startswith(start)]


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def test_the_line_of_an_epoch(caplog: pytest.LogCaptureFixture) -> None:
    training = Training(Clock())
    training.epoch(1)
    training.validation(1, seconds=20)
    training.epoch(2, steps=31)
    *_, last = lines(caplog)
    left = 70 + 100 + 2 * 20  # steps of this epoch and of the next, two validations
    assert last == (
        "progress: training epoch=2/3 done=30.0% images/s=8 loss_so_far=0.1332 rate=0.001 "
        f"epoch_left=0:01:10 job_left=0:0{left // 60}:{left % 60}"
    )


def test_no_metric_of_sagemaker_is_found_in_the_lines(caplog: pytest.LogCaptureFixture) -> None:
    training = Training(Clock(), reading=lambda: Reading(seconds=1, gpu=0.93, gpu_memory=12_300_000_000))
    training.epoch(1)
    training.progress.train_end(record_of(1))
    assert len(lines(caplog)) == 4
    for line in [record.message for record in caplog.records]:
        assert metrics_in(line, metric_definitions()) == {}
        assert read_epoch(line, "validation:loss") is None
        assert not re.search(r"(train|validation):\w+=", line)


def test_memory_and_load_of_the_gpu_or_of_the_machine() -> None:
    gpu = Reading(seconds=1, cpu=0.5, memory=2_000_000_000, gpu=0.93, gpu_memory=12_300_000_000)
    assert machine_values(gpu, 139_800_000_000) == ["gpu_memory=12.3/139.8GB", "gpu_load=93%"]
    cpu = Reading(seconds=1, cpu=0.5, memory=2_000_000_000)
    assert machine_values(cpu, None) == ["memory=2.0GB", "cpu_load=50%"]
    assert machine_values(None, None) == []


def test_a_line_of_several_processes_counts_the_images_of_all(caplog: pytest.LogCaptureFixture) -> None:
    training = Training(Clock(), work={"processes": 4})
    training.epoch(1, steps=60)
    assert "images/s=32" in lines(caplog)[-1]


def test_the_cache_is_in_the_lines_of_the_first_epoch(caplog: pytest.LogCaptureFixture) -> None:
    training = Training(Clock(), cached=lambda: 1_500_000_000)
    training.epoch(1)
    training.epoch(2)
    assert ["cached=1.5GB" in line for line in lines(caplog)] == [True] * 4 + [False] * 3


def test_an_epoch_that_continues_counts_its_own_steps(caplog: pytest.LogCaptureFixture) -> None:
    training = Training(Clock())
    training.epoch(2, steps=80, first=40)
    assert "epoch=2/3 done=70.0% images/s=8" in lines(caplog)[-1]
    assert "epoch_left=0:00:30" in lines(caplog)[-1]


def test_the_end_is_said_after_20_steps_whose_first_do_not_count(caplog: pytest.LogCaptureFixture) -> None:
    training = Training(Clock())
    training.epoch(1, steps=19)
    assert lines(caplog, "The job ends") == []
    training = Training(Clock())
    training.epoch(1)
    training.epoch(2)
    left = 80 + 200 + 3 * 10  # the validation is taken to be as fast as the training
    assert lines(caplog, "The job ends") == [
        f"The job ends in 0:0{left // 60}:{left % 60}, at 2026-03-01 12:05 UTC, as far as its first steps tell "
        "(1 s for each step)"
    ]


def test_an_epoch_of_few_steps_says_it_after_its_validation(caplog: pytest.LogCaptureFixture) -> None:
    training = Training(Clock(), epochs=11, steps=10, work={"stops_early": True})
    training.epoch(1, steps=10)
    training.validation(1, seconds=5)
    (said,) = lines(caplog, "The job ends")
    assert said.startswith("The job ends in 0:10:00, at 2026-03-01 12:10 UTC, at the latest, as it may stop early")


def test_a_job_longer_than_its_limit_is_warned_of_early(caplog: pytest.LogCaptureFixture) -> None:
    training = Training(Clock(), epochs=100, max_runtime=3600)
    training.epoch(1, steps=20)
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert warning.message == (
        "The job needs about 3:04:05 in all, and SageMaker ends it after its MaxRuntimeInSeconds of 3600 (1:00:00), in "
        "about epoch 33 of 100. Raise MaxRuntimeInSeconds, lower epochs, or take a faster instance"
    )


def test_a_job_within_its_limit_is_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    training = Training(Clock(), epochs=3, max_runtime=3600)
    training.epoch(1, steps=20)
    assert not [record for record in caplog.records if record.levelno == logging.WARNING]


def test_the_first_step_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    first_step = TimeToFirstStep(torch.device("cpu"))
    with caplog.at_level(logging.INFO):
        first_step.step_end()
        first_step.step_end()
    lines = [record.message for record in caplog.records]
    assert len(lines) == 1
    assert lines[0].startswith("The first step was done ")
