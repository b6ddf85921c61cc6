"""This image as an algorithm of SageMaker's: what CreateAlgorithm asks, so that jobs can be made from a form.

SageMaker then checks the names and bounds of hyperparameters itself, before a machine is paid for.
Source: "CreateAlgorithm" in the SageMaker API Reference.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Sequence
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo

from byoc_serve.media import IMAGE_TYPES
from byoc_serve.negotiation import FORMS
from byoc_vision.describe.instance_types import instance_types, offered
from byoc_vision.describe.metrics import MetricDefinition, metric_definitions
from byoc_vision.describe.ranges import search_space
from byoc_vision.describe.recipe import recipe_of
from byoc_vision.describe.tuning import as_metrics
from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.training.metric_names import figures_of

Json = dict[str, Any]

MOST_HYPERPARAMETERS = 100
_LARGEST_INTEGER = 2**31 - 1  # where a hyperparameter has no upper bound, as SageMaker's own algorithms write it
_LARGEST, _SMALLEST = sys.float_info.max, sys.float_info.min
_LONGEST_DESCRIPTION = 1024

# An algorithm has eight channels at the most. Lists, and files of augmentations, come in the channel of the images.
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
    """What boto3's `create_algorithm` takes. image: in ECR, with its tag or digest."""
    return {
        "AlgorithmName": name,
        "AlgorithmDescription": "Trains and serves U-Nets and image classifiers",
        "TrainingSpecification": training_specification(image, metric_definitions()),
        "InferenceSpecification": inference_specification(image),
    }


def training_specification(image: str, definitions: Sequence[MetricDefinition]) -> Json:
    """Hyperparameters by their own names; jobs of an algorithm know no other ones."""
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
    """What endpoints and batch transforms take and answer."""
    responses = {form.media_type for forms in FORMS.values() for form in forms}
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
    """One for each hyperparameter, with its range where it is a number, true or false, or one of some names."""
    tunable = {found.name for task in ("segmentation", "classification")
               for found in search_space(_widest_recipe(task)).ranges}  # fmt: skip
    return [_specification(name, field, name in tunable) for name, field in Hyperparameters.model_fields.items()]


def _widest_recipe(task: str) -> Any:
    """One of which all varies that can."""
    return recipe_of({"task": task, "pretrained": "true"} | ({"model": "fpn"} if task == "segmentation" else {}))


def _specification(name: str, field: FieldInfo, tunable: bool) -> Json:
    kind, bounds = _kind(field.annotation, list(field.metadata))
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


def _kind(annotation: Any, metadata: list[Any]) -> tuple[str, Json]:
    """SageMaker's type for one of ours, and its bounds or values."""
    names = _names(annotation)
    if names:
        return "Categorical", {"Values": names}
    base, said = _unwrapped(annotation, metadata)
    if base is int:
        return "Integer", _bounds(said, -_LARGEST_INTEGER, _LARGEST_INTEGER, step=1)
    if base is float:
        return "Continuous", _bounds(said, -_LARGEST, _LARGEST, step=0)
    return "FreeText", {}


def _names(annotation: Any) -> list[str]:
    """All values of a type that has names alone; none of another type."""
    base, _ = _unwrapped(annotation, [])
    if base is bool:
        return ["true", "false"]
    if get_origin(base) is Literal:
        return [str(value) for value in get_args(base)]
    if get_origin(base) in (Union, types.UnionType):
        parts = [_names(part) for part in get_args(base)]
        return [name for part in parts for name in part] if all(parts) else []
    return []


def _unwrapped(annotation: Any, metadata: list[Any]) -> tuple[Any, list[Any]]:
    """A type without `Annotated` and without None, and what is said of it."""
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [argument for argument in get_args(annotation) if argument is not type(None)]
        return _unwrapped(kinds[0], metadata) if len(kinds) == 1 else (annotation, metadata)
    if hasattr(annotation, "__metadata__"):
        said = [item for found in annotation.__metadata__ for item in getattr(found, "metadata", [found])]
        return _unwrapped(annotation.__origin__, [*metadata, *said])
    return annotation, metadata


def _bounds(said: list[Any], low: float, high: float, step: float) -> Json:
    """Both included, as SageMaker has them: what lies above 0 begins with the next number."""
    for item in said:
        match item:
            case annotated_types.Gt(gt=bound):
                low = float(bound) + (step or _SMALLEST)  # type: ignore[arg-type]
            case annotated_types.Ge(ge=bound):
                low = float(bound)  # type: ignore[arg-type]
            case annotated_types.Lt(lt=bound):
                high = _just_below(float(bound))  # type: ignore[arg-type]
            case annotated_types.Le(le=bound):
                high = float(bound)  # type: ignore[arg-type]
    written = (int(low), int(high)) if step else (low, high)
    return {"MinValue": str(written[0]), "MaxValue": str(written[1])}


def _just_below(bound: float) -> float:
    return bound - sys.float_info.epsilon


def _text(default: Any) -> str | None:
    if default is None or default == () or default == "":
        return None
    if isinstance(default, tuple):
        return ", ".join(map(str, default))
    return str(default).lower() if isinstance(default, bool) else str(default)


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
    names = dict.fromkeys([*figures_of("segmentation"), *figures_of("classification"),
                           *figures_of("classification", multi_label=True)])  # fmt: skip
    return [
        {"Type": "Minimize" if name == "loss" else "Maximize", "MetricName": f"validation:{name}"} for name in names
    ]
