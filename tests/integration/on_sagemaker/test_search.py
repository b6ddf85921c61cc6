"""The options of SageMaker's tuner. The AWS of these tests refuses requests that break botocore's model of the API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.api_model import problems
from support.aws import Aws

Launch = Callable[..., None]


def test_a_search_learns_from_earlier_ones_and_ends_when_it_stalls(launch: Launch, aws: Aws) -> None:
    words = ("--warm-start=earlier-1", "--warm-start=earlier-2", "--no-early-stopping", "--patience=5")
    launch("tune", "--yes", *words, "--warm-start-type=IdenticalDataAndAlgorithm", "--metric=f1")
    search = aws.asked("CreateHyperParameterTuningJob")
    assert search["WarmStartConfig"] == {
        "ParentHyperParameterTuningJobs": [
            {"HyperParameterTuningJobName": "earlier-1"},
            {"HyperParameterTuningJobName": "earlier-2"},
        ],
        "WarmStartType": "IdenticalDataAndAlgorithm",
    }
    config = search["HyperParameterTuningJobConfig"]
    assert config["TrainingJobEarlyStoppingType"] == "Off"
    assert config["TuningJobCompletionCriteria"] == {
        "BestObjectiveNotImproving": {"MaxNumberOfTrainingJobsNotImproving": 5}
    }
    assert config["HyperParameterTuningJobObjective"] == {"Type": "Maximize", "MetricName": "validation:f1"}
    assert search["TrainingJobDefinition"]["StaticHyperParameters"]["objective"] == "f1", "the epoch is kept by it, too"


def test_a_plain_search_stops_weak_jobs_early(launch: Launch, aws: Aws) -> None:
    launch("tune", "--yes")
    search = aws.asked("CreateHyperParameterTuningJob")
    assert search["HyperParameterTuningJobConfig"]["TrainingJobEarlyStoppingType"] == "Auto"
    assert "WarmStartConfig" not in search
    assert "TuningJobCompletionCriteria" not in search["HyperParameterTuningJobConfig"]


def test_several_metrics_are_recorded_and_shown(launch: Launch, aws: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    launch("tune", "--yes", "--metric=accuracy", "--metric=f1", "--metric=validation:f1_hat", "--class-name=hat")
    definition = aws.asked("CreateHyperParameterTuningJob")["TrainingJobDefinition"]
    recorded = [metric["Name"] for metric in definition["AlgorithmSpecification"]["MetricDefinitions"]]
    assert {"validation:accuracy", "validation:f1", "validation:f1_hat"} <= set(recorded)
    lines = capsys.readouterr().out.splitlines()
    header = next(index for index, line in enumerate(lines) if line.startswith("job "))
    assert lines[header].split() == [
        *("job", "validation:accuracy", "validation:f1", "validation:f1_hat", "state", "hyperparameters")
    ]
    assert lines[header + 1].split() == ["001", "0.9", "0.85", "–", "Completed", "learning_rate=0.002"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"WarmStartConfig": {"WarmStartType": "Warm"}}, "ParentHyperParameterTuningJobs is missing"),
        ({"WarmStartConfig": {"WarmStartType": "Warm"}}, "'Warm' is not one of the 2 values"),
        ({"HyperParameterTuningJobName": "a" * 33}, "33 is not within 1 and 32"),
        ({"HyperParameterTuningJobName": "a_b"}, "'a_b' does not match"),
        ({"Autotun": {}}, "Autotun is not known"),
    ],
)
def test_the_model_of_the_api_would_refuse_others(launch: Launch, aws: Aws, change: Any, problem: str) -> None:
    launch("tune", "--yes")
    request = aws.asked("CreateHyperParameterTuningJob")
    assert problems("sagemaker", "CreateHyperParameterTuningJob", request) == []
    found = problems("sagemaker", "CreateHyperParameterTuningJob", request | change)
    assert problem in "\n".join(found)
