"""Random changes to the training images, and the same changes to their masks.

They work on uint8 images of the model's size. All randomness comes from the seed of each image, so a run does not
depend on the number of loader processes.
"""

from __future__ import annotations

import difflib
import logging
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import cv2
import numpy as np

from byoc_vision.data.albumentations_files import (
    FILE_SUFFIX,
    compose_saved,
    find_file,
    import_albumentations,
    read_transforms,
)
from byoc_vision.errors import DataError, InputError
from byoc_vision.types import Task

if TYPE_CHECKING:
    from albumentations import BasicTransform, Compose, OneOf

logger = logging.getLogger(__name__)

AugmentationName = Literal["none", "flip", "light", "strong", "trivial", "crop", "crop_color", "crop_color_transform"]

# The ranges that SageMaker's built-in Image Classification gives for its `augmentation_type`.
_HUE, _SATURATION, _LIGHTNESS = (-36, 36), (-50, 50), (-50, 50)  # of 180, 255 and 255, as OpenCV counts them
_COLOURED = ("strong", "trivial", "crop_color", "crop_color_transform")  # these change hue and saturation
_ROTATION = (-10, 10)  # degrees
_SHEAR = (-0.1, 0.1)  # shares of the side
_ASPECT_RATIO = (0.8, 1.25)
_CROPPED_AREA = (0.76, 1.0)  # down to 224 of 256 pixels a side
# The ranges of TrivialAugment's wide space.
_TRIVIAL_SHARE, _TRIVIAL_SHIFT, _TRIVIAL_ROTATION = 0.99, 32, 135  # of a factor or a side; pixels; degrees


class Augmented(NamedTuple):
    """uint8 [h, w, 3] and, where one was given, uint8 [h, w]."""

    image: np.ndarray
    mask: np.ndarray | None


Augmentation = Callable[[np.ndarray, np.ndarray | None, int], Augmented]


def build_augmentation(
    name: str,
    task: Task,
    *,
    folder: Path | None = None,
    size: tuple[int, int] = (224, 224),
    channels: int = 3,
    crops: bool = True,
) -> Augmentation:
    """A function of (image uint8 [h, w, 3], mask uint8 [h, w] or None, seed) that keeps shapes and types.

    none: no change. flip: horizontal flips. light: also small shifts, scales, rotations, brightness and contrast.
    strong: also random crops, colours, blur and noise, and for classification dropout of areas.
    trivial: random crops, flips, and one change of any strength: of colours, sharpness, place, rotation or shear
    (Müller and Hutter, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation", 2021).
    crop, crop_color, crop_color_transform: as in the built-in Image Classification: random crops and flips; also hue,
    saturation and lightness (here of HSV); also rotation, shear and aspect ratio.
    FILE.json: the transforms that albumentations saved in this file in `folder`; tried on images of `size`, height and
    width.
    crops: False leaves out the random crops of the names, for images that are such crops already.

    Raises InputError for an unknown name, and for a file that cannot be used.
    """
    if name.lower().endswith(FILE_SUFFIX):
        file = find_file(name, folder)
        return _Augmenter(partial(compose_saved, read_transforms(file, task, size)), str(file))
    name = name.strip().lower().replace("-", "_")
    if name not in get_args(AugmentationName):
        raise _unknown(name)
    if folder is not None:
        logger.warning("The channel `augmentation` is not used: augmentation=%s is not one of its files", name)
    if channels != 3 and name in _COLOURED:
        logger.info("augmentation=%s without its changes of colour, which are for RGB images", name)
    return _unchanged if name == "none" else _Augmenter(partial(_compose, name, task, channels == 3, crops), name)


def _unknown(name: str) -> InputError:
    names = get_args(AugmentationName)
    nearest = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else f"use one of {', '.join(names)}."
    return InputError(
        f"augmentation={name} is not known; {hint} A file that albumentations saved is given with its ending, .json, "
        "and must be in the channel `augmentation`"
    )


def _unchanged(image: np.ndarray, mask: np.ndarray | None, seed: int) -> Augmented:
    return Augmented(image, mask)


class _Augmenter:
    """Builds the transforms on first use, in the loader process: albumentations takes seconds to import."""

    def __init__(self, compose: Callable[[int, int], Compose], title: str) -> None:
        """compose: makes the transforms for images of a height and a width."""
        self.compose = compose
        self.title = title
        self._composed: dict[tuple[int, int], Compose] = {}

    def __call__(self, image: np.ndarray, mask: np.ndarray | None, seed: int) -> Augmented:
        height, width = image.shape[:2]
        if (height, width) not in self._composed:
            self._composed[height, width] = self.compose(height, width)
        compose = self._composed[height, width]
        # set_random_seed would give each transform the same stream, so that flips and rotations always coincide.
        compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
        both = compose(image=image) if mask is None else compose(image=image, mask=mask)
        pixels = both["image"]
        one_band = image.shape[2] == 1 and pixels.ndim == 2  # some transforms drop the axis
        changed = Augmented(pixels[..., None] if one_band else pixels, both.get("mask"))
        if (changed.image.shape, changed.image.dtype) != (image.shape, image.dtype):
            raise DataError(
                f"augmentation {self.title} makes {changed.image.dtype} {list(changed.image.shape)} of an image of "
                f"uint8 {list(image.shape)}; remove the transforms that change sizes or types"
            )
        return changed


def _compose(name: str, task: Task, is_rgb: bool, crops: bool, height: int, width: int) -> Compose:
    albumentations = import_albumentations()
    if name == "trivial":
        steps = _trivial(task, is_rgb, height, width)
    elif name.startswith("crop"):
        steps = _built_in(name, height, width)
    else:
        steps = _standard(name, task, height, width)
    if not crops:
        steps = [step for step in steps if not isinstance(step, albumentations.RandomResizedCrop)]
    if not is_rgb:
        coloured = (albumentations.ColorJitter, albumentations.HueSaturationValue)
        steps = [step for step in steps if not isinstance(step, coloured)]
    return albumentations.Compose(steps)


def _standard(name: str, task: Task, height: int, width: int) -> list[BasicTransform | OneOf]:
    albumentations = import_albumentations()
    steps: list[BasicTransform | OneOf] = []
    if name == "strong":
        steps.append(_random_crop(task, height, width, p=0.7))
    steps.append(albumentations.HorizontalFlip(p=0.5))
    if name != "flip":
        steps.append(_affine(scale=(0.9, 1.1), translate_percent=(-0.06, 0.06), rotate=(-10, 10), p=0.7))
    if name == "light":
        steps.append(albumentations.RandomBrightnessContrast(0.15, 0.15, p=0.5))
    if name == "strong":
        steps.append(albumentations.ColorJitter((0.7, 1.3), (0.7, 1.3), (0.7, 1.3), (-0.05, 0.05), p=0.8))
        blur = albumentations.GaussianBlur(sigma_limit=(0.3, 1.5))
        noise = albumentations.GaussNoise(std_range=(0.01, 0.06))
        steps.append(albumentations.OneOf([blur, noise], p=0.3))
    if name == "strong" and task == "classification":
        steps.append(albumentations.CoarseDropout((1, 4), (0.08, 0.2), (0.08, 0.2), fill="random_uniform", p=0.3))
    return steps


def _trivial(task: Task, is_rgb: bool, height: int, width: int) -> list[BasicTransform | OneOf]:
    """The wide space of TrivialAugment, with mirrored borders and strengths between its 31 steps, too.

    One of 14 changes, each as often: nothing, five of geometry, eight of pixels. Images of other bands than RGB have
    two of these, brightness and contrast.
    """
    a = import_albumentations()
    degrees = float(np.degrees(np.arctan(_TRIVIAL_SHARE)))
    changes: list[BasicTransform | OneOf] = [
        a.NoOp(p=1),
        *(_affine(shear={"x": 0, "y": 0, axis: (-degrees, degrees)}, p=1) for axis in "xy"),
        *(_affine(translate_px={"x": 0, "y": 0, axis: (-_TRIVIAL_SHIFT, _TRIVIAL_SHIFT)}, p=1) for axis in "xy"),
        _affine(rotate=(-_TRIVIAL_ROTATION, _TRIVIAL_ROTATION), p=1),
    ]
    share = (-_TRIVIAL_SHARE, _TRIVIAL_SHARE)
    if not is_rgb:
        changes += [a.RandomBrightnessContrast(*ranges, p=1) for ranges in ((share, (0, 0)), ((0, 0), share))]
        return [_random_crop(task, height, width, p=1), a.HorizontalFlip(p=0.5), a.OneOf(changes, p=1)]
    factor, same = (1 - _TRIVIAL_SHARE, 1 + _TRIVIAL_SHARE), (1, 1)
    changes += [
        a.ColorJitter(factor, same, same, (0, 0), p=1),
        a.ColorJitter(same, factor, same, (0, 0), p=1),
        a.ColorJitter(same, same, factor, (0, 0), p=1),
        # Pillow's sharpness of up to 1.99 is this share of albumentations' kernel; below 1 it blurs.
        a.OneOf(
            [
                a.Sharpen((0, _TRIVIAL_SHARE / 13), (1, 1), p=1),
                a.GaussianBlur(blur_limit=(3, 3), sigma_limit=(0.1, 0.66), p=1),
            ],
            p=1,
        ),
        a.Posterize((2, 8), p=1),
        a.Solarize((0, 1), p=1),
        a.AutoContrast(method="pil", p=1),
        a.Equalize(mode="pil", p=1),
    ]
    return [_random_crop(task, height, width, p=1), a.HorizontalFlip(p=0.5), a.OneOf(changes, p=1)]


def _random_crop(task: Task, height: int, width: int, p: float) -> BasicTransform:
    scale = (0.5, 1.0) if task == "segmentation" else (0.35, 1.0)
    crop: BasicTransform = import_albumentations().RandomResizedCrop(
        (height, width), scale=scale, ratio=(0.8, 1.25), p=p
    )
    return crop


def _built_in(name: str, height: int, width: int) -> list[BasicTransform | OneOf]:
    albumentations = import_albumentations()
    ratio = _ASPECT_RATIO if name == "crop_color_transform" else (1.0, 1.0)
    shape = tuple(value * width / height for value in ratio)  # relative to the proportions of the model's input
    steps: list[BasicTransform | OneOf] = [
        albumentations.RandomResizedCrop((height, width), scale=_CROPPED_AREA, ratio=shape, p=1),
        albumentations.HorizontalFlip(p=0.5),
    ]
    if name == "crop_color_transform":
        degrees = tuple(np.degrees(np.arctan(_SHEAR)).tolist())
        steps.append(_affine(rotate=_ROTATION, shear={"x": degrees, "y": 0}, p=1))
    if name != "crop":
        steps.append(albumentations.HueSaturationValue(_HUE, _SATURATION, _LIGHTNESS, p=1))
    return steps


def _affine(**ranges: object) -> BasicTransform:
    """An affine transform with mirrored borders, for labels as well as pixels.

    Black borders do not occur in images to predict; mirrored ones keep the statistics and add labelled pixels.
    """
    albumentations = import_albumentations()
    return albumentations.Affine(
        interpolation=cv2.INTER_LINEAR,
        mask_interpolation=cv2.INTER_NEAREST,
        border_mode=cv2.BORDER_REFLECT_101,
        **ranges,
    )
