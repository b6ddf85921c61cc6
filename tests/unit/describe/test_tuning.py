"""A search in each client's words: what botocore takes, and what pasted Python makes."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.validate import ParamValidator
from support.recipes import EXAMPLES, recipes

from byoc_vision.describe.metrics import metric_definitions
from byoc_vision.describe.ranges import search_space
from byoc_vision.describe.recipe import recipe_of
from byoc_vision.describe.space import Categorical
from byoc_vision.describe.tuning import Sdk, as_json, as_metrics, as_program, as_request, as_table, tuner_arguments

DEFINITIONS = metric_definitions()
REST = {  # what a recipe does not decide
    "HyperParameterTuningJobName": "cars",
    "TrainingJobDefinition": {
        "AlgorithmSpecification": {"TrainingImage": "image", "TrainingInputMode": "File"},
        "RoleArn": "arn:aws:iam::123456789012:role/tuner",
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/models"},
        "ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 50},
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
    },
}


def merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    both = {name: merged(one[name], other[name]) for name in one.keys() & other.keys()}
    return {**one, **other, **both}


@pytest.fixture(scope="module")
def request_shape() -> Any:
    client = boto3.client("sagemaker", "eu-west-1", aws_access_key_id="none", aws_secret_access_key="none")
    return client.meta.service_model.operation_model("CreateHyperParameterTuningJob").input_shape


def complaints(request: dict[str, Any], shape: Any) -> str:
    return str(ParamValidator().validate(request, shape).generate_report())


@pytest.mark.parametrize("recipe", recipes())
def test_boto3_takes_the_request(recipe: str, request_shape: Any) -> None:
    parts = as_request(search_space(EXAMPLES / recipe), DEFINITIONS)
    assert complaints(merged(parts, REST), request_shape) == ""
    ranges = parts["HyperParameterTuningJobConfig"]["ParameterRanges"]
    names = [entry["Name"] for entries in ranges.values() for entry in entries]
    assert len(names) == len(set(names)) <= 30
    assert not set(names) & set(parts["TrainingJobDefinition"]["StaticHyperParameters"])
    assert json.loads(json.dumps(parts)) == parts


def test_a_wrong_request_would_be_seen(request_shape: Any) -> None:
    parts = as_request(search_space("segmentation"), DEFINITIONS)
    parts["TrainingJobDefinition"]["StaticHyperParameters"]["epochs"] = 3
    assert "StaticHyperParameters.epochs" in complaints(merged(parts, REST), request_shape)


def test_the_objective_is_among_the_metrics_that_are_read() -> None:
    config = as_request(search_space("segmentation", "loss"), DEFINITIONS)["HyperParameterTuningJobConfig"]
    assert config["HyperParameterTuningJobObjective"] == {"Type": "Minimize", "MetricName": "validation:loss"}
    assert "validation:loss" in {definition.name for definition in DEFINITIONS}


class Call(SimpleNamespace):
    """What was called, in place of the SDKs' classes: tests/container/test_describe.py asks those."""

    @classmethod
    def named(cls, name: str) -> Any:
        return lambda *arguments, **options: cls(name=name, arguments=arguments, options=options)


CLASSES = {f"{kind}Parameter": Call.named(kind) for kind in ("Continuous", "Integer", "Categorical")}


@pytest.mark.parametrize("sdk", ["v2", "v3"])
def test_the_program_makes_what_the_function_makes(sdk: Sdk) -> None:
    space = search_space(recipe_of({"task": "classification", "augmentation": 'sträng "x\'".json'}))
    lines = as_program(space, DEFINITIONS, sdk).splitlines()
    assert lines[0].startswith("from sagemaker.")
    found: dict[str, Any] = dict(CLASSES)
    exec("\n".join(lines[1:]), found)
    assert found["hyperparameters"] == space.fixed
    assert found["tuner_arguments"] == tuner_arguments(space, DEFINITIONS, SimpleNamespace(**CLASSES))
    categorical = {it.name: [list(it.values)] for it in space.ranges if isinstance(it, Categorical)}
    ranges = found["tuner_arguments"]["hyperparameter_ranges"]
    assert {name: list(call.arguments) for name, call in ranges.items() if call.name == "Categorical"} == categorical


def test_as_json() -> None:
    found = as_json(search_space("classification"))
    assert found["objective"] == {"metric": "validation:accuracy", "direction": "maximize"}
    assert found["ranges"][0] == {
        "kind": "continuous", "name": "learning_rate", "low": 0.0001, "high": 0.01, "logarithmic": True
    }  # fmt: skip
    json.dumps(found)


def test_as_a_table() -> None:
    lines = as_table(search_space("segmentation")).splitlines()
    assert lines[0] == "maximize validation:dice over"
    assert lines[1].split("  ") == ["learning_rate", "0.0001 – 0.01", "numbers, by their logarithm"]


def test_metrics_in_each_client_s_spelling() -> None:
    assert set(as_metrics(DEFINITIONS)[0]) == set(as_metrics(DEFINITIONS, "v2")[0]) == {"Name", "Regex"}
    assert set(as_metrics(DEFINITIONS, "v3")[0]) == {"name", "regex"}
