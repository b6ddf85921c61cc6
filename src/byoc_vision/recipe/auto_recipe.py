"""What `recipe=auto` chooses in place of the user: from the data, the model and the machine, each with its reason.

benchmarks/recipes.py measures what each choice is worth; docs/recipes.md has the table.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from byoc_vision.data.preflight.report import PreflightReport
from byoc_vision.data.samples import Dataset
from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.models.build import input_multiple
from byoc_vision.models.parts import encoder_of
from byoc_vision.models.pretrained import PretrainedInfo
from byoc_vision.recipe import segmentation_recipe
from byoc_vision.recipe.linear_probe import linear_head
from byoc_vision.recipe.segmentation_recipe import Budgeted, Scene
from byoc_vision.report import formatting
from byoc_vision.types import ModelSpec, Task

logger = logging.getLogger(__name__)

LEAST_STEPS = 200  # of a training that adapts a pretrained network
MOST_EPOCHS = 60
FEW_IMAGES = 1000  # of a process
OF_ADAM = ("adamw", "adam")  # optimisers whose steps are as long as the learning rate, whatever the gradients


class Choice(NamedTuple):
    """A hyperparameter, the value that it got, and why."""

    name: str
    value: Any
    reason: str


@dataclass(frozen=True)
class Facts:
    """What choices depend on.

    images: that each process trains on. pretrained: whether the network's weights are.
    linear_head: whether the network ends in one linear layer, with random weights. encoder: whether it has one.
    scene: of a segmentation.
    """

    task: Task
    images: int
    pretrained: bool = False
    linear_head: bool = False
    encoder: bool = False
    scene: Scene | None = None

    @classmethod
    def of(
        cls,
        net: nn.Module,
        spec: ModelSpec,
        dataset: Dataset,
        processes: int,
        pretrained: PretrainedInfo | None,
        report: PreflightReport | None,
        device: torch.device,
    ) -> Facts:
        """dataset: the samples on this host, which so many processes divide. report: of the images of all hosts."""
        multiple, gpu, whole = input_multiple(spec), device.type == "cuda", bool(pretrained and pretrained.whole)
        return cls(
            task=dataset.task,
            images=-(-len(dataset.train) // processes),
            pretrained=pretrained is not None,
            linear_head=linear_head(net) is not None and not whole,
            encoder=encoder_of(net) is not None,
            scene=Scene.of(report, len(dataset.classes), multiple, gpu=gpu, decoder=whole)
            if dataset.task == "segmentation"
            else None,
        )


def choose(
    hyperparameters: Hyperparameters, facts: Facts, given: Collection[str], budgeted: Budgeted | None = None
) -> tuple[Hyperparameters, tuple[Choice, ...]]:
    """The hyperparameters with what the recipe chooses, and those choices.

    given: what the user chose, which is left as it is. budgeted: None without a budget.
    """
    if hyperparameters.recipe == "none":
        return hyperparameters, ()
    choices: list[Choice] = []
    settings = hyperparameters

    def take(name: str, value: Any, reason: str) -> Hyperparameters:
        nonlocal settings
        if name not in given and getattr(settings, name) != value:
            choices.append(Choice(name, value, reason))
            settings = settings.model_copy(update={name: value})
        return settings

    if facts.scene:
        segmentation_recipe.choose_objective(facts.scene, take)
    if facts.pretrained and facts.encoder and facts.scene:
        segmentation_recipe.choose(facts.images, facts.scene, settings, given, take, budgeted)

    if facts.pretrained and facts.task == "classification":
        if facts.linear_head:
            take("linear_probe", True, "the pretrained features give a floor, and a start for the head")
            take(
                "warmup_epochs",
                warmup_for(facts.images, settings),
                "the first steps of Adam are large, and the head is good from the start",
            )
        if facts.encoder:
            _choose_for_encoder(facts.images, settings, take)
    for choice in choices:
        logger.info("recipe: %s=%s, since %s", choice.name, formatting.setting(choice.value), choice.reason)
    return settings, tuple(choices)


def _choose_for_encoder(images: int, settings: Hyperparameters, take: segmentation_recipe.Take) -> None:
    """Of a classifier whose encoder is pretrained."""
    is_few, few = images <= FEW_IMAGES, f"there are only {images} images"
    if settings.optimizer in OF_ADAM:
        take("learning_rate", 3e-4, "larger steps spoil pretrained features")
    if is_few and settings.steps is None and settings.budget is None:
        take("epochs", epochs_for(images, settings), f"{few}, which make few steps an epoch")
    if settings.linear_probe:
        take("freeze_batch_norm", True, "the head is fitted to features with the pretrained statistics")
    elif is_few:
        take("freeze_batch_norm", True, f"{few}: the pretrained statistics are better than those of small batches")


def steps_an_epoch(images: int, settings: Hyperparameters) -> int:
    return max(1, images // (settings.batch_size * settings.accumulate_steps))


def warmup_for(images: int, settings: Hyperparameters) -> float:
    """One epoch, or a tenth of the steps if there are few."""
    if settings.steps is None:
        return 1.0
    return min(1.0, round(settings.steps / 10 / steps_an_epoch(images, settings), 3))


def epochs_for(images: int, settings: Hyperparameters) -> int:
    """As many as LEAST_STEPS take; not fewer than the default, and not more than MOST_EPOCHS."""
    wanted = math.ceil(LEAST_STEPS / steps_an_epoch(images, settings))
    return min(MOST_EPOCHS, max(settings.epochs, wanted))
