"""The types that every layer shares. This module imports nothing else of the package."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

Task = Literal["segmentation", "classification"]
ResizeRule = Literal["stretch", "letterbox", "short_side"]
DataFormatName = Literal[
    "auto",
    "carvana",
    "oxford_pets",
    "camvid",
    "polyvore",
    "semantic_segmentation",
    "voc",
    "cityscapes",
    "ade20k",
    "masks_beside_images",
    "class_masks",
    "label_studio",
    "rle_csv",
    "coco",
    "cvat",
    "labelme",
    "yolo",
    "instance_masks",
    "drive",
    "pictures_and_masks",
    "class_folders",
    "lst",
    "manifest",
    "recordio",
    "csv",
]


LONGEST_NAME = 500  # characters, of a class

# Control characters, line ends of Unicode, characters that change the direction of the text around them, and what
# Python makes of bytes in file names that are not UTF-8.
_UNSHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True)
class ClassInfo:
    """A class: its name and, for segmentation, the pixel value it has in masks, 0–255.

    color: that its pixels had in masks in colours, as `#rrggbb`; predictions with a palette have it, too.

    Stored in the artifact and in metrics.json as `{"name": …, "value": …}`. A plain dataclass follows the model that
    holds it in what it does with unknown keys: the artifact refuses them, metrics.json ignores them. A class without
    a color is stored without that key, which images of earlier versions do not know.
    """

    name: str
    value: Annotated[int, Field(ge=0, le=255)] | None = None
    color: Annotated[str | None, Field(pattern=r"^#[0-9a-f]{6}$", exclude_if=lambda color: color is None)] = None


def name_problem(name: str) -> str | None:
    """What is wrong with the name of a class, if it cannot be shown in logs, tables, reports and responses."""
    if not name.strip():
        return f"the name {name!r} is empty"
    if len(name) > LONGEST_NAME:
        return f"the name {name[:40]!a}… has {len(name):,} characters; {LONGEST_NAME} are the most"
    if _UNSHOWN.search(name):
        return f"the name {name!a} has control characters, or bytes that are not UTF-8"
    return None


class ModelSpec(BaseModel):
    """What rebuilds a network, without its weights. Stored in the artifact.

    architecture: `unet` (the classic one, if `encoder` is empty), a segmentation-models-pytorch
    architecture, `fcn_resnet50`, `fcn_resnet101`, or the name of a timm classifier.
    outputs: the number of logits per pixel or image; 1 if two classes share one sigmoid.
    in_channels: of the images: 3 for RGB, otherwise the number of their bands.
    hidden_units, dropout_rate: the classifier's head; dropout_rate None is the network's own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: Task
    architecture: str
    encoder: str | None = None
    outputs: PositiveInt
    in_channels: PositiveInt = 3
    hidden_units: tuple[PositiveInt, ...] = ()
    dropout_rate: float | None = None
