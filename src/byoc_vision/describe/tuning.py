"""A search in the format of each SageMaker client."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Literal, Protocol

from byoc_vision.describe.metrics import MetricDefinition
from byoc_vision.describe.space import Categorical, Continuous, Integer, Range, SearchSpace

Json = dict[str, Any]
Sdk = Literal["v2", "v3"]

_MODULES: dict[Sdk, tuple[str, str]] = {
    "v2": ("sagemaker.tuner", "sagemaker.tuner"),
    "v3": ("sagemaker.core.parameter", "sagemaker.train.tuner"),
}
"""The modules of each SDK's parameters, and of its tuner."""


class Parameters(Protocol):
    """The names that both SDKs share: the module `sagemaker.tuner` of v2, `sagemaker.core.parameter` of v3."""

    ContinuousParameter: Callable[..., Any]
    IntegerParameter: Callable[..., Any]
    CategoricalParameter: Callable[..., Any]


def as_json(space: SearchSpace) -> Json:
    """The space, each range with its kind."""
    ranges = [{"kind": type(found).__name__.lower(), **asdict(found)} for found in space.ranges]
    return {"objective": asdict(space.objective), "ranges": ranges, "fixed": space.fixed}


def as_request(space: SearchSpace, definitions: Sequence[MetricDefinition], jobs: int = 20, parallel: int = 2) -> Json:
    """The parts of a CreateHyperParameterTuningJob request that a recipe decides, as boto3 takes them.

    jobs: at most. parallel: at once. The caller adds the tuning job's name, and for the training jobs the image, the
    role, the channels, the instances, the output and the time limit.
    """
    kinds = {Continuous: "ContinuousParameterRanges", Integer: "IntegerParameterRanges",
             Categorical: "CategoricalParameterRanges"}  # fmt: skip
    ranges: dict[str, list[Json]] = {name: [] for name in kinds.values()}
    for found in space.ranges:
        ranges[kinds[type(found)]].append(_request_range(found))
    return {
        "HyperParameterTuningJobConfig": {
            "Strategy": "Bayesian",
            "HyperParameterTuningJobObjective": {
                "Type": space.objective.direction.capitalize(),
                "MetricName": space.objective.metric,
            },
            "ResourceLimits": {"MaxNumberOfTrainingJobs": jobs, "MaxParallelTrainingJobs": parallel},
            "ParameterRanges": ranges,
            "TrainingJobEarlyStoppingType": "Auto",
        },
        "TrainingJobDefinition": {
            "StaticHyperParameters": space.fixed,
            "AlgorithmSpecification": {"MetricDefinitions": as_metrics(definitions)},
        },
    }


def as_metrics(definitions: Sequence[MetricDefinition], sdk: Literal["boto3", "v2", "v3"] = "boto3") -> list[Json]:
    """For boto3's MetricDefinitions and SDK v2's `metric_definitions`; for v3 what each `MetricDefinition` takes."""
    name, regex = ("name", "regex") if sdk == "v3" else ("Name", "Regex")
    return [{name: definition.name, regex: definition.regex} for definition in definitions]


def tuner_arguments(space: SearchSpace, definitions: Sequence[MetricDefinition], parameters: Parameters) -> Json:
    """An SDK's HyperparameterTuner's arguments, without the estimator or trainer, whose hyperparameters are `fixed`.

    parameters: the SDK's own classes, see `Parameters`.
    """
    return {
        "objective_metric_name": space.objective.metric,
        "objective_type": space.objective.direction.capitalize(),
        "hyperparameter_ranges": {
            found.name: getattr(parameters, name)(*arguments, **options)
            for found, name, arguments, options in map(_call, space.ranges)
        },
        "metric_definitions": as_metrics(definitions),
    }


def as_program(space: SearchSpace, definitions: Sequence[MetricDefinition], sdk: Sdk) -> str:
    """The same as Python code to paste: `hyperparameters` and `tuner_arguments`."""
    parameters, tuner = _MODULES[sdk]
    lines = [
        f"from {parameters} import CategoricalParameter, ContinuousParameter, IntegerParameter",
        "",
        f"hyperparameters = {_written(space.fixed)}",
        f"tuner_arguments = {{  # for {tuner}.HyperparameterTuner",
        f'    "objective_metric_name": {json.dumps(space.objective.metric)},',
        f'    "objective_type": {json.dumps(space.objective.direction.capitalize())},',
        '    "hyperparameter_ranges": {',
        *(f"        {json.dumps(found.name)}: {_called(found)}," for found in space.ranges),
        "    },",
        '    "metric_definitions": [',
        *(f"        {json.dumps(entry)}," for entry in as_metrics(definitions)),
        "    ],",
        "}",
    ]
    return "\n".join(lines)


def as_table(space: SearchSpace) -> str:
    """A line for each range, and for the objective."""
    rows = [(found.name, *_shown(found)) for found in space.ranges]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"{name:{widths[0]}}  {values:{widths[1]}}  {scale}".rstrip() for name, values, scale in rows]
    return "\n".join([f"{space.objective.direction} {space.objective.metric} over", *lines])


def _shown(found: Range) -> tuple[str, str]:
    if isinstance(found, Categorical):
        return "one of", ", ".join(found.values)
    kind = "whole numbers" if isinstance(found, Integer) else "numbers"
    return f"{found.low:g} – {found.high:g}", kind + (", by their logarithm" if found.logarithmic else "")


def _request_range(found: Range) -> Json:
    if isinstance(found, Categorical):
        return {"Name": found.name, "Values": list(found.values)}
    scaling = "Logarithmic" if found.logarithmic else "Linear"
    return {"Name": found.name, "MinValue": str(found.low), "MaxValue": str(found.high), "ScalingType": scaling}


def _call(found: Range) -> tuple[Range, str, list[Any], Json]:
    """A range, the SDKs' class for it, and the class's arguments."""
    if isinstance(found, Categorical):
        return found, "CategoricalParameter", [list(found.values)], {}
    scaling = {"scaling_type": "Logarithmic" if found.logarithmic else "Linear"}
    return found, f"{type(found).__name__}Parameter", [found.low, found.high], scaling


def _called(found: Range) -> str:
    _, name, arguments, options = _call(found)
    values = [json.dumps(value) for value in arguments] + [f"{key}={json.dumps(it)}" for key, it in options.items()]
    return f"{name}({', '.join(values)})"


def _written(fixed: dict[str, str]) -> str:
    return json.dumps(fixed, indent=4, ensure_ascii=False)
