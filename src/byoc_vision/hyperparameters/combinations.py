"""Hyperparameters that exclude each other, or that a task does not have: all are named in one message."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from byoc_vision.types import Task

if TYPE_CHECKING:
    from byoc_vision.hyperparameters.model import Hyperparameters


def conflicts(given: Hyperparameters) -> Iterator[str]:
    """What is wrong with the hyperparameters together, and how to fix it, each in a line."""
    if given.task == "segmentation" and given.resize == "short_side":
        yield "resize: short_side crops images, so parts of a mask would be missing; use stretch or letterbox"
    if given.int8 is True and not given.openvino:
        yield "int8: the INT8 model is made of the OpenVINO model; set openvino=true, or int8=auto"
    if given.freeze_epochs >= given.epochs and given.freeze_epochs and not given.steps:
        yield (
            "freeze_epochs must be less than epochs, or the encoder never learns; with freeze_epochs=0 and a small "
            "encoder_lr_factor it learns slowly from the start"
        )
    if (given.mixup or given.cutmix) and given.batch_size == 1:
        yield "mixup and cutmix mix the images of a batch; set batch_size=2 or more, or leave both out"
    if given.layer_decay != 1 and given.encoder_lr_factor != 1:
        yield "layer_decay and encoder_lr_factor both slow the encoder; leave one of them out"
    if given.task != "auto":
        yield from conflicts_with(given.task, given)


def conflicts_with(task: Task, given: Hyperparameters) -> Iterator[str]:
    """What the task does not have, each in a line."""
    if task == "segmentation" and (given.mixup or given.cutmix):
        yield (
            "mixup and cutmix mix the labels of whole images: they are for classification; for masks take "
            "augmentation=strong and random_scale"
        )
    if task == "segmentation" and (given.random_resized_crop or given.train_image_size):
        yield (
            "random_resized_crop and train_image_size are for classification; for masks take crop_size and random_scale"
        )
    if task == "segmentation" and given.layer_decay != 1:
        yield "layer_decay is for classification; for masks take encoder_lr_factor"
    if task == "classification" and (given.mask_threshold != 0.5 or given.min_area):
        yield "mask_threshold and min_area are for masks of two classes; leave them out"
