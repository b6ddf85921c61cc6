"""From hyperparameters and data to decisions: which model, which input, which loss, which figure counts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from byoc_vision.artifact import ClassEntry, ModelCard
from byoc_vision.data.preprocess import Preprocess, ResizeRule
from byoc_vision.data.samples import Dataset
from byoc_vision.errors import InputError
from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.models.build import input_multiple
from byoc_vision.models.pretrained import PretrainedInfo
from byoc_vision.models.spec import ModelSpec, Task

DEFAULT_MODEL: dict[Task, str] = {"segmentation": "unet", "classification": "resnet18"}
DEFAULT_SIZE: dict[Task, int] = {"segmentation": 256, "classification": 224}
DEFAULT_RESIZE: dict[Task, ResizeRule] = {"segmentation": "stretch", "classification": "short_side"}
DEFAULT_LOSS: dict[Task, str] = {"segmentation": "bce_dice", "classification": "cross_entropy"}


@dataclass(frozen=True)
class Objective:
    """The validation figure that decides which epoch is kept."""

    name: str
    mode: Literal["max", "min"] = "max"


def model_spec(hyperparameters: Hyperparameters, dataset: Dataset) -> ModelSpec:
    """Raises InputError where a hyperparameter belongs to the other task."""
    task = dataset.task
    name = hyperparameters.model if hyperparameters.model != "auto" else DEFAULT_MODEL[task]
    if task == "classification" and hyperparameters.encoder:
        raise InputError(
            f"encoder: belongs to segmentation models; a classifier is named by `model`, such as model={hyperparameters.encoder}"
        )
    if task == "segmentation" and (hyperparameters.hidden_units or hyperparameters.dropout_rate):
        raise InputError("hidden_units, dropout_rate: shape a classifier's head; a segmentation model has none")
    return ModelSpec(
        task=task,
        architecture=name,
        encoder=hyperparameters.encoder,
        outputs=1 if is_binary(dataset) else len(dataset.classes),
        hidden_units=hyperparameters.hidden_units,
        dropout_rate=hyperparameters.dropout_rate,
    )


def is_binary(dataset: Dataset) -> bool:
    """Two classes of pixels are told apart by one logit and a sigmoid."""
    return dataset.task == "segmentation" and len(dataset.classes) == 2


def preprocess(hyperparameters: Hyperparameters, spec: ModelSpec, pretrained: PretrainedInfo | None) -> Preprocess:
    """The input rule; the normalisation is the one that the pretrained weights were made with.

    Raises InputError where the size does not fit the model.
    """
    size = DEFAULT_SIZE[spec.task]
    height, width = hyperparameters.image_size or (size, size)
    resize = hyperparameters.resize or DEFAULT_RESIZE[spec.task]
    if spec.task == "segmentation" and resize == "short_side":
        raise InputError("resize: short_side cuts pictures, so parts of a mask would be missing; use stretch or letterbox")
    _check_size(height, width, spec)
    if pretrained is None:
        return Preprocess(height=height, width=width, resize=resize)
    return Preprocess(height=height, width=width, resize=resize, mean=pretrained.mean, std=pretrained.std)


def _check_size(height: int, width: int, spec: ModelSpec) -> None:
    multiple = input_multiple(spec)
    if height % multiple or width % multiple:
        fitting = [max(multiple, round(side / multiple) * multiple) for side in (height, width)]
        raise InputError(
            f"image_size: {spec.architecture} takes sides that divide by {multiple}, not {height}, {width}; "
            f'the nearest is "{fitting[0]}, {fitting[1]}"'
        )


def model_card(dataset: Dataset, spec: ModelSpec, rule: Preprocess) -> ModelCard:
    return ModelCard(
        model=spec,
        classes=tuple(ClassEntry(name=entry.name, value=entry.value) for entry in dataset.classes),
        activation="sigmoid" if is_binary(dataset) else "softmax",
        preprocess=rule,
    )


def loss_name(hyperparameters: Hyperparameters, task: Task) -> str:
    return DEFAULT_LOSS[task] if hyperparameters.loss == "auto" else hyperparameters.loss


def objective(dataset: Dataset) -> Objective:
    """Dice for one kind of object, mIoU for several, accuracy for pictures."""
    if dataset.task == "classification":
        return Objective("accuracy")
    return Objective("dice" if is_binary(dataset) else "miou")


def baked_weights() -> Path | None:
    """The folder of pretrained weights that the image was built with, where it has one."""
    folder = Path(os.environ.get("BYOC_PRETRAINED_DIR", "/opt/byoc/weights"))
    return folder if folder.is_dir() else None
