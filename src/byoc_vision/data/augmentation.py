"""Random changes to the training pictures, and the same to their masks.

They work on uint8 pictures that already have the model's size. All randomness comes from the seed that is
given with each picture, so that a run does not depend on how many processes load it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

import cv2
import numpy as np

from byoc_vision.models.spec import Task

if TYPE_CHECKING:
    from albumentations import BasicTransform, Compose, OneOf

AugmentationName = Literal["none", "flip", "light", "strong"]


class Augmented(NamedTuple):
    """uint8 [h, w, 3] and, where one was given, uint8 [h, w]."""

    image: np.ndarray
    mask: np.ndarray | None


Augmentation = Callable[[np.ndarray, np.ndarray | None, int], Augmented]


def build_augmentation(name: str, task: Task) -> Augmentation:
    """A function of (image uint8 [h, w, 3], mask uint8 [h, w] or None, seed) that keeps shapes and types.

    none: nothing. flip: left and right. light: also a little shift, scale, rotation, brightness and contrast.
    strong: also other crops, colours, blur and noise, and for classification some areas left out.
    """
    return _unchanged if name == "none" else _Augmenter(name, task)


def _unchanged(image: np.ndarray, mask: np.ndarray | None, seed: int) -> Augmented:
    return Augmented(image, mask)


class _Augmenter:
    """Built on first use, in the process that uses it: albumentations takes seconds to import."""

    def __init__(self, name: str, task: Task) -> None:
        self.name = name
        self.task = task
        self._composed: dict[tuple[int, int], Compose] = {}

    def __call__(self, image: np.ndarray, mask: np.ndarray | None, seed: int) -> Augmented:
        height, width = image.shape[:2]
        if (height, width) not in self._composed:
            self._composed[height, width] = _compose(self.name, self.task, height, width)
        compose = self._composed[height, width]
        # Not set_random_seed: it gives each transform the same stream, so that what flips would also always turn.
        compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
        if mask is None:
            return Augmented(compose(image=image)["image"], None)
        changed = compose(image=image, mask=mask)
        return Augmented(changed["image"], changed["mask"])


def _compose(name: str, task: Task, height: int, width: int) -> Compose:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else it asks the network for news when imported
    import albumentations

    steps: list[BasicTransform | OneOf] = []
    if name == "strong":
        scale = (0.5, 1.0) if task == "segmentation" else (0.35, 1.0)
        steps.append(albumentations.RandomResizedCrop((height, width), scale=scale, ratio=(0.8, 1.25), p=0.7))
    steps.append(albumentations.HorizontalFlip(p=0.5))
    if name != "flip":
        # What comes in at the borders is mirrored, labels with pixels. Black would be a thing that pictures to be
        # predicted do not show; mirrored borders keep their statistics and give more labelled pixels to learn from.
        steps.append(
            albumentations.Affine(
                scale=(0.9, 1.1),
                translate_percent=(-0.06, 0.06),
                rotate=(-10, 10),
                interpolation=cv2.INTER_LINEAR,
                mask_interpolation=cv2.INTER_NEAREST,
                border_mode=cv2.BORDER_REFLECT_101,
                p=0.7,
            )
        )
    if name == "light":
        steps.append(albumentations.RandomBrightnessContrast(0.15, 0.15, p=0.5))
    if name == "strong":
        steps.append(albumentations.ColorJitter((0.7, 1.3), (0.7, 1.3), (0.7, 1.3), (-0.05, 0.05), p=0.8))
        blur = albumentations.GaussianBlur(sigma_limit=(0.3, 1.5))
        noise = albumentations.GaussNoise(std_range=(0.01, 0.06))
        steps.append(albumentations.OneOf([blur, noise], p=0.3))
    if name == "strong" and task == "classification":
        steps.append(albumentations.CoarseDropout((1, 4), (0.08, 0.2), (0.08, 0.2), fill="random_uniform", p=0.3))
    return albumentations.Compose(steps)
