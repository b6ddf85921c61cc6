"""Segmentation: a folder for each image, with a mask for each object, as in the Data Science Bowl 2018.

https://www.kaggle.com/c/data-science-bowl-2018/data
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from byoc_vision.data.formats.base import Inputs, ParsedDataset
from byoc_vision.data.formats.channels import MASK_FOLDER_NAMES, Split
from byoc_vision.data.formats.image_mask_pairs import IMAGE_FOLDER_NAMES, has_inner_masks, leave_out
from byoc_vision.data.formats.scan import Folder
from byoc_vision.data.samples import DataOptions, Sample
from byoc_vision.errors import list_problems
from byoc_vision.types import ClassInfo, Task

logger = logging.getLogger(__name__)


class InstanceMasks:
    """`ID/images/ID.png` and `ID/masks/*.png`: the mask of an image is the union of its objects' masks."""

    name = "instance_masks"
    task: Task = "segmentation"
    title = "a folder for each image, with a mask for each object"
    example = "train/ID/images/ID.png\ntrain/ID/masks/1.png, 2.png, …"

    def matches(self, inputs: Inputs) -> bool:
        return inputs.first.masks is None and bool(_holders(inputs.first.images))

    def read(self, inputs: Inputs, options: DataOptions, classes: Sequence[ClassInfo] = ()) -> ParsedDataset:
        samples = {name: tuple(_samples(split, skip=options.skips)) for name, split in inputs.splits.items()}
        return ParsedDataset({name: held for name, held in samples.items() if held or name == "train"})


def _holders(folder: Folder) -> list[Folder]:
    """The folders of single images, if most of the folders are such."""
    for outer in folder.unwrapped():
        holders = [inner for inner in outer.folders if has_inner_masks(inner) and len(_images(inner)) == 1]
        if holders and 2 * len(holders) > len(outer.folders):
            return list(outer.folders)
    return []


def _named(folder: Folder, names: Sequence[str]) -> list[str]:
    """The images in the inner folders with these names, relative to the folder."""
    return [f"{inner.name}/{path}" for inner in folder.named(*names) for path in inner.image_paths()]


def _images(folder: Folder) -> list[str]:
    return _named(folder, IMAGE_FOLDER_NAMES)


def _samples(split: Split, *, skip: bool) -> list[Sample]:
    samples: list[Sample] = []
    problems: list[str] = []
    holders = _holders(split.images) or list(split.images.folders)
    for folder in holders:
        images, masks = _images(folder), _named(folder, MASK_FOLDER_NAMES)
        if len(images) == 1 and masks:
            first, *further = (folder.path / mask for mask in masks)
            samples.append(Sample(folder.path / images[0], first, further_masks=tuple(further)))
        else:
            problems.append(f"{folder.path}: {len(images)} images and {len(masks)} masks")
    if problems and not samples and split.name == "test":
        logger.warning("%s holds no masks, so it is not read", split.images.path)
        return []
    headline = "each folder must hold one image and its masks; fix these, or use on_bad_sample=skip:"
    leave_out(problems, len(holders), list_problems(headline, problems), skip=skip)
    return samples
