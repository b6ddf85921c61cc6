"""How the launch scripts follow a job, and what they say when it ends."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[3] / "examples/on_sagemaker"


@pytest.fixture
def watching(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(EXAMPLES)
    module = import_module("watching")
    monkeypatch.setattr(module, "PAUSE", 0.0)
    return module


def ended(watching: ModuleType, **description: Any) -> str:
    with pytest.raises(SystemExit) as error:
        watching.wait_for("cars-1", lambda: description, "TrainingJobStatus")
    return str(error.value)


def test_a_failed_job_shows_its_reason_and_what_it_was_doing(watching: ModuleType) -> None:
    reason = "Your data: train/1.jpg: the image is cut short; copy it again"
    said = ended(
        watching,
        TrainingJobStatus="Failed",
        SecondaryStatus="Failed",
        SecondaryStatusTransitions=[{"Status": "Downloading"}, {"Status": "Failed", "StatusMessage": "failed"}],
        FailureReason=reason,
    )
    assert said == f"cars-1 ended as Failed (SecondaryStatus Failed, after Downloading): {reason}"
    assert ended(watching, TrainingJobStatus="Failed", FailureReason=reason) == f"cars-1 ended as Failed: {reason}"


def test_a_job_without_an_instance_shows_the_remedy(watching: ModuleType) -> None:
    said = ended(watching, TrainingJobStatus="Stopped", SecondaryStatus="MaxWaitTimeExceeded")
    assert said.startswith("cars-1 ended as Stopped (SecondaryStatus MaxWaitTimeExceeded): SageMaker gives no reason\n")
    assert "--no-spot" in said


def test_a_job_whose_time_is_over_counts_with_the_model_it_left(
    watching: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped = {"TrainingJobStatus": "Stopped", "SecondaryStatus": "MaxRuntimeExceeded"}
    assert watching.wait_for("cars-1", lambda: stopped, "TrainingJobStatus") == stopped
    assert "--longest-job" in capsys.readouterr().out
    assert ended(watching, **{**stopped, "SecondaryStatus": "Stopped"}).startswith("cars-1 ended as Stopped (Sec")


def test_each_change_is_printed_once_with_what_sagemaker_says(
    watching: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    starting = {
        "TrainingJobStatus": "InProgress",
        "SecondaryStatus": "Starting",
        "SecondaryStatusTransitions": [{"Status": "Starting", "StatusMessage": "Preparing the instances"}],
    }
    training = {"TrainingJobStatus": "InProgress", "SecondaryStatus": "Training"}
    done = {"TrainingJobStatus": "Completed", "SecondaryStatus": "Completed"}
    seen = iter([starting, starting, training, done])
    assert watching.wait_for("cars-1", lambda: next(seen), "TrainingJobStatus") == done
    assert capsys.readouterr().out.splitlines() == [
        "cars-1: InProgress, Starting: Preparing the instances",
        "cars-1: InProgress, Training",
        "cars-1: Completed",
    ]
