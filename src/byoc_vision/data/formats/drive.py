"""Segmentation: images with the masks that a person drew and the field of view of the camera, as in DRIVE and HRF.

Staal et al.: Ridge-based vessel segmentation in color images of the retina (2004), https://drive.grand-challenge.org;
Budai et al.: Robust vessel segmentation in fundus images (2013).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from byoc_vision.data.formats.base import Inputs, ParsedDataset
from byoc_vision.data.formats.channels import Split
from byoc_vision.data.formats.image_mask_pairs import IMAGE_FOLDER_NAMES, leave_out
from byoc_vision.data.formats.scan import Folder
from byoc_vision.data.samples import DataOptions, Sample
from byoc_vision.errors import DataError, list_problems
from byoc_vision.preprocess import IGNORED
from byoc_vision.types import ClassInfo, Task

logger = logging.getLogger(__name__)

_MANUAL = re.compile(r"((1st|first|2nd|second)_?)?manual_?[0-9]?", re.IGNORECASE)
_VIEW_NAMES = ("mask", "masks", "fov")
_KIND = re.compile(r"training|test|manual[0-9]?|mask|fov", re.IGNORECASE)


class Drive:
    """`images/`, `1st_manual/` and, optionally, `mask/`: what is not black in the manual masks is the foreground.

    `mask/` holds the field of view; pixels that neither marks are ignored. A second person's masks are not read.
    """

    name = "drive"
    task: Task = "segmentation"
    title = "images with manual masks and fields of view"
    example = (
        "train/images/21_training.tif, …\n"
        "train/manual/21_manual1.gif, …       (or 1st_manual, as in DRIVE)\n"
        "train/mask/21_training_mask.gif, …   (optional: the field of view)"
    )

    def matches(self, inputs: Inputs) -> bool:
        return inputs.first.masks is None and _root(inputs.first) is not None

    def read(self, inputs: Inputs, options: DataOptions, classes: Sequence[ClassInfo] = ()) -> ParsedDataset:
        named = tuple(classes) or (ClassInfo("background", 0), ClassInfo("foreground", 1))
        labels = [index if entry.value is None else entry.value for index, entry in enumerate(named)][:2]
        samples: dict[str, tuple[Sample, ...]] = {}
        for name, split in inputs.splits.items():
            root = _root(split)
            if root is None and name == "test" and split is not inputs.first:
                logger.warning("%s holds no manual masks, so the test split is not read", split.images.path)
                continue
            if root is None:
                raise DataError(f"{split.images.path} holds no manual masks, unlike the training images")
            samples[name] = tuple(_samples(root, labels, skip=options.skips))
        return ParsedDataset(samples, named, IGNORED)


def _root(split: Split) -> Folder | None:
    """The folder that holds the images and the manual masks: the split's, or a single one in it."""
    return next((folder for folder in split.images.unwrapped() if _is_root(folder)), None)


def _is_root(folder: Folder) -> bool:
    """Whether an image has a manual mask: such folders may also be classes."""
    images, masks = folder.named(*IMAGE_FOLDER_NAMES)[:1], _manual(folder)[:1]
    return any(_by_core(one).keys() & _by_core(other).keys() for one in images for other in masks)


def _manual(folder: Folder) -> list[Folder]:
    return [inner for inner in folder.image_folders if _MANUAL.fullmatch(inner.name)]


def _samples(root: Folder, labels: Sequence[int], *, skip: bool) -> list[Sample]:
    images, manual, *others = [*root.named(*IMAGE_FOLDER_NAMES)[:1], *_manual(root)]
    views = [inner for inner in root.named(*_VIEW_NAMES) if inner.has_images]
    for folder in others:
        logger.warning("%s holds other masks of the same images, which are not read", folder.path)
    image_of, mask_of = _by_core(images), _by_core(manual)
    view_of = _by_core(views[0]) if views else {}
    missing = [str(image) for core, image in image_of.items() if core not in mask_of or (views and core not in view_of)]
    beside = f"{manual.path} or in {views[0].path}, the field of view" if views else manual.path
    leave_out(missing, len(image_of), list_problems(f"images without a mask in {beside}:", missing), skip=skip)
    background, foreground = labels
    samples = []
    for core, image in image_of.items():
        if views and core in view_of and core in mask_of:
            values = (IGNORED, background, foreground)
            samples.append(Sample(image, view_of[core], further_masks=(mask_of[core],), mask_labels=values))
        elif not views and core in mask_of:
            samples.append(Sample(image, mask_of[core], mask_labels=(background, foreground)))
    return samples


def _by_core(folder: Folder) -> dict[str, Path]:
    """The files by their name without the words for their kind: `21` of `21_training.tif` and `21_manual1.gif`."""
    return {_core(path.stem): folder.path / path for path in folder.images()}


def _core(stem: str) -> str:
    words = stem.split("_")
    while len(words) > 1 and _KIND.fullmatch(words[-1]):
        words.pop()
    return "_".join(words)
