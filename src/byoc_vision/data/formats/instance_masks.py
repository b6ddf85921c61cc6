"""Segmentation: a folder for each image, with a mask for each object, as in the Data Science Bowl 2018.

https://www.kaggle.com/c/data-science-bowl-2018/data
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from byoc_vision.data.formats.base import Inputs, ParsedDataset
from byoc_vision.data.formats.channels import MASK_FOLDER_NAMES, Split, unwrap_folder
from byoc_vision.data.formats.image_mask_pairs import IMAGE_FOLDER_NAMES, has_inner_masks
from byoc_vision.data.formats.scan import Folder
from byoc_vision.data.samples import DataOptions, Sample
from byoc_vision.errors import DataError, list_problems
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
        skip = options.on_bad_sample == "skip"
        samples = {name: tuple(_samples(split, skip=skip)) for name, split in inputs.splits.items()}
        return ParsedDataset({name: held for name, held in samples.items() if held or name == "train"})


def _holders(folder: Folder) -> list[Folder]:
    """The folders of single images, if most of the folders are such."""
    for outer in (folder, unwrap_folder(folder)):
        holders = [inner for inner in outer.folders if has_inner_masks(inner) and len(_images(inner)) == 1]
        if holders and 2 * len(holders) > len(outer.folders):
            return list(outer.folders)
    return []


def _named(folder: Folder, names: Sequence[str]) -> list[str]:
    """The images in the inner folders with these names, relative to the folder."""
    return [
        f"{inner.name}/{path}" for inner in folder.folders if inner.name.lower() in names for path in inner.images()
    ]


def _images(folder: Folder) -> list[str]:
    return _named(folder, IMAGE_FOLDER_NAMES)


def _samples(split: Split, *, skip: bool) -> list[Sample]:
    samples: list[Sample] = []
    problems: list[str] = []
    holders = _holders(split.images) or list(unwrap_folder(split.images).folders)
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
    if problems and not (skip and len(problems) < len(samples)):
        headline = "each folder must hold one image and its masks; fix these, or use on_bad_sample=skip:"
        raise DataError(list_problems(headline, problems))
    if problems:
        logger.warning("folders that are left out (on_bad_sample=skip): %d, such as %s", len(problems), problems[0])
    return samples
