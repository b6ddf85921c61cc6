"""The request that makes this image an algorithm of SageMaker's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel, Shape
from botocore.validate import ParamValidator

from byoc_vision.describe.algorithm import MOST_HYPERPARAMETERS, create_algorithm_request
from byoc_vision.errors import InputError
from byoc_vision.hyperparameters import Hyperparameters, parse
from byoc_vision.hyperparameters.fields import MOST

IMAGE = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/byoc-vision:1"


@pytest.fixture(scope="module")
def request_() -> dict[str, Any]:
    return create_algorithm_request(IMAGE)


@pytest.fixture(scope="module")
def specifications(request_: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {entry["Name"]: entry for entry in request_["TrainingSpecification"]["SupportedHyperParameters"]}


def test_the_service_s_model_takes_it(request_: dict[str, Any]) -> None:
    assert complaints("CreateAlgorithm", request_) == []
    assert json.loads(json.dumps(request_)) == request_


def test_what_it_would_not_take_is_seen(request_: dict[str, Any]) -> None:
    training = request_["TrainingSpecification"]
    wrong = {**request_, "TrainingSpecification": {**training, "SupportedTrainingInstanceTypes": ["ml.c5.tiny"]}}
    (said,) = complaints("CreateAlgorithm", wrong)
    assert "ml.c5.tiny is none of the enumeration" in said


def test_every_hyperparameter_is_there(specifications: dict[str, dict[str, Any]]) -> None:
    assert set(specifications) == set(Hyperparameters.model_fields)
    assert len(specifications) <= MOST_HYPERPARAMETERS


def test_all_defaults_together_mean_what_nothing_means(specifications: dict[str, dict[str, Any]]) -> None:
    """SageMaker gives a job the defaults of what the user leaves out."""
    defaults = {name: entry["DefaultValue"] for name, entry in specifications.items() if "DefaultValue" in entry}
    assert parse(defaults) == Hyperparameters()


def test_the_ends_of_every_range_are_taken(specifications: dict[str, dict[str, Any]]) -> None:
    for name, entry in specifications.items():
        for bounds in entry.get("Range", {}).values():
            ends = bounds.get("Values") or [bounds["MinValue"], bounds["MaxValue"]]
            for end in ends:
                others = {"epochs": str(MOST)} if name == "freeze_epochs" else {}
                parse({name: end, **others})


@pytest.mark.parametrize(
    ("name", "value"),
    [("num_classes", "1"), ("ignore_index", "256"), ("dropout_rate", "1"), ("encoder_lr_factor", "1.1")],
)
def test_a_bound_is_the_reader_s_own(name: str, value: str, specifications: dict[str, dict[str, Any]]) -> None:
    (bounds,) = specifications[name]["Range"].values()
    assert not float(bounds["MinValue"]) <= float(value) <= float(bounds["MaxValue"])
    with pytest.raises(InputError):
        parse({name: value})


def test_what_a_search_varies_is_tunable(specifications: dict[str, dict[str, Any]]) -> None:
    tunable = {name for name, entry in specifications.items() if entry["IsTunable"]}
    assert tunable == {
        "learning_rate", "weight_decay", "batch_size", "epochs", "optimizer", "loss", "dropout_rate",
        "encoder_lr_factor",
    }  # fmt: skip


def test_the_objectives_are_among_the_metrics(request_: dict[str, Any]) -> None:
    training = request_["TrainingSpecification"]
    metrics = {entry["Name"] for entry in training["MetricDefinitions"]}
    objectives = {entry["MetricName"]: entry["Type"] for entry in training["SupportedTuningJobObjectiveMetrics"]}
    assert set(objectives) <= metrics
    assert (objectives["validation:loss"], objectives["validation:map"]) == ("Minimize", "Maximize")


def test_only_the_training_images_are_required(request_: dict[str, Any]) -> None:
    channels = request_["TrainingSpecification"]["TrainingChannels"]
    assert [entry["Name"] for entry in channels if entry["IsRequired"]] == ["train"]


def complaints(operation: str, request: dict[str, Any], service: str = "sagemaker") -> list[str]:
    """What is wrong with a request. botocore itself asks for no enumeration, pattern or greatest length."""
    shape = _model(service).operation_model(operation).input_shape
    report = ParamValidator().validate(request, shape).generate_report()
    return [*filter(None, [report]), *_values(shape, request, operation)]


@cache
def _model(service: str) -> ServiceModel:
    return ServiceModel(Loader().load_service_model(service, "service-2"), service)


def _values(shape: Shape, value: Any, where: str) -> Iterator[str]:
    limits = shape.metadata
    if "max" in limits and (value if isinstance(value, int | float) else len(value)) > limits["max"]:
        yield f"{where}: more than {limits['max']}"
    if limits.get("enum") and value not in limits["enum"]:
        yield f"{where}: {value} is none of the enumeration"
    pattern = limits.get("pattern", "")
    if pattern and r"\p{" not in pattern and not re.fullmatch(pattern, value):
        yield f"{where}: {value} does not match {pattern}"
    if shape.type_name == "structure":
        for name, member in value.items():
            yield from _values(shape.members[name], member, f"{where}.{name}")
    elif shape.type_name == "list":
        for index, member in enumerate(value):
            yield from _values(shape.member, member, f"{where}[{index}]")
    elif shape.type_name == "map":
        for name, member in value.items():
            yield from _values(shape.key, name, f"{where}.{name}")
            yield from _values(shape.value, member, f"{where}.{name}")
