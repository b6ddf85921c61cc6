"""This image as a SageMaker algorithm: the CreateAlgorithm request, so that jobs can be created from a form.

SageMaker then checks the names and bounds of hyperparameters before it starts an instance.
Source: "CreateAlgorithm" in the SageMaker API Reference.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from pydantic.fields import FieldInfo

from byoc_serve.decode import IMAGE_TYPES
from byoc_serve.response_format import RESPONSE_FORMATS
from byoc_vision.describe.instance_types import instance_types, offered
from byoc_vision.describe.metrics import MetricDefinition, metric_definitions
from byoc_vision.describe.ranges import search_space
from byoc_vision.describe.recipe import recipe_of
from byoc_vision.describe.tuning import as_metrics
from byoc_vision.evaluation.metric_names import metrics_of
from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.hyperparameters.value_types import Names, Number, ValueType, value_types

Json = dict[str, Any]

MOST_HYPERPARAMETERS = 100
_LARGEST_INTEGER = 2**31 - 1  # for hyperparameters without an upper bound, as in SageMaker's own algorithms
_LARGEST, _SMALLEST = sys.float_info.max, sys.float_info.min
_LONGEST_DESCRIPTION = 1024

# An algorithm has at most eight channels. Lists and augmentation files go into the channel of the images.
_CHANNELS = {
    "train": "Images, or folders with images and masks, or manifests.",
    "train_annotation": "Masks of the training images, by their names.",
    "validation": "Images to choose the best epoch by. Without them a share of the training images is held out.",
    "validation_annotation": "Masks of the validation images.",
    "test": "Images that the best model is measured on at the end.",
    "test_annotation": "Masks of the test images.",
    "label_map": "train_label_map.json, as the built-in Semantic Segmentation has it.",
    "pretrained": "A .safetensors file of weights to start from.",
}
_IMAGE_TYPES = ["application/x-image", "application/x-recordio", "image/jpeg", "image/png", "text/csv"]


def create_algorithm_request(image: str, name: str = "byoc-vision") -> Json:
    """The arguments of boto3's `create_algorithm`. image: in ECR, with its tag or digest."""
    return {
        "AlgorithmName": name,
        "AlgorithmDescription": "Trains and serves U-Nets and image classifiers",
        "TrainingSpecification": training_specification(image, metric_definitions()),
        "InferenceSpecification": inference_specification(image),
    }


def training_specification(image: str, definitions: Sequence[MetricDefinition]) -> Json:
    """Hyperparameters by their own names; jobs of an algorithm take no other names."""
    return {
        "TrainingImage": image,
        "SupportedHyperParameters": hyperparameter_specifications(),
        "SupportedTrainingInstanceTypes": [it.name for it in instance_types() if offered(it.name, "training")],
        "SupportsDistributedTraining": True,
        "MetricDefinitions": as_metrics(definitions),
        "TrainingChannels": [_channel(name, meaning) for name, meaning in _CHANNELS.items()],
        "SupportedTuningJobObjectiveMetrics": _objectives(),
    }


def inference_specification(image: str) -> Json:
    """The content types that endpoints and batch transforms take and return."""
    responses = {form.media_type for forms in RESPONSE_FORMATS.values() for form in forms}
    return {
        "Containers": [{"Image": image}],
        "SupportedContentTypes": sorted(
            {*IMAGE_TYPES, "application/octet-stream", "application/x-npy", "application/json", "application/jsonlines"}
        ),
        "SupportedResponseMIMETypes": sorted(responses),
        "SupportedRealtimeInferenceInstanceTypes": [it.name for it in instance_types() if offered(it.name, "hosting")],
        "SupportedTransformInstanceTypes": [it.name for it in instance_types() if offered(it.name, "transform")],
    }


def hyperparameter_specifications() -> list[Json]:
    """One for each hyperparameter, with its range if it is a number, a switch, or one of some names."""
    tunable = {found.name for task in ("segmentation", "classification")
               for found in search_space(_widest_recipe(task)).ranges}  # fmt: skip
    return [_specification(name, field, name in tunable) for name, field in Hyperparameters.model_fields.items()]


def _widest_recipe(task: str) -> Any:
    """A recipe with all hyperparameters that can vary."""
    return recipe_of({"task": task, "pretrained": "true"} | ({"model": "fpn"} if task == "segmentation" else {}))


def _specification(name: str, field: FieldInfo, tunable: bool) -> Json:
    kind, bounds = _type_and_range(value_types(field))
    specification = {
        "Name": name,
        "Description": (field.description or "")[:_LONGEST_DESCRIPTION],
        "Type": kind,
        "IsTunable": tunable and kind != "FreeText",
        "IsRequired": False,
    }
    if kind != "FreeText":
        specification["Range"] = {f"{kind}ParameterRangeSpecification": bounds}
    if (default := _text(field.default)) is not None:
        specification["DefaultValue"] = default
    return specification


def _type_and_range(kinds: Sequence[ValueType]) -> tuple[str, Json]:
    """SageMaker's type for one of ours, and its bounds or values."""
    names = [kind for kind in kinds if isinstance(kind, Names)]
    if len(names) == len(kinds):
        return "Categorical", {"Values": [_value(value) for kind in names for value in kind.values]}
    if len(kinds) == 1 and isinstance(kinds[0], Number):
        return "Integer" if kinds[0].whole else "Continuous", _bounds(kinds[0])
    return "FreeText", {}


def _bounds(kind: Number) -> Json:
    """Both included, as SageMaker takes them: a range above 0 begins with the next number."""
    low, high = (-_LARGEST_INTEGER, _LARGEST_INTEGER) if kind.whole else (-_LARGEST, _LARGEST)
    if kind.above is not None:
        low = kind.above + (1 if kind.whole else _SMALLEST)
    if kind.least is not None:
        low = kind.least
    if kind.below is not None:
        high = kind.below - sys.float_info.epsilon
    if kind.most is not None:
        high = kind.most
    number = int if kind.whole else float
    return {"MinValue": str(number(low)), "MaxValue": str(number(high))}


def _value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _text(default: Any) -> str | None:
    if default is None or default == () or default == "":
        return None
    if isinstance(default, tuple):
        return ", ".join(map(str, default))
    return _value(default)


def _channel(name: str, meaning: str) -> Json:
    return {
        "Name": name,
        "Description": meaning,
        "IsRequired": name == "train",
        "SupportedContentTypes": ["application/octet-stream"] if name == "pretrained" else _IMAGE_TYPES,
        "SupportedCompressionTypes": ["None"],
        "SupportedInputModes": ["File", "FastFile", *(["Pipe"] if name in ("train", "validation", "test") else [])],
    }


def _objectives() -> list[Json]:
    names = dict.fromkeys([*metrics_of("segmentation"), *metrics_of("classification"),
                           *metrics_of("classification", multi_label=True)])  # fmt: skip
    return [
        {"Type": "Minimize" if name == "loss" else "Maximize", "MetricName": f"validation:{name}"} for name in names
    ]
