"""Kaggle's Carvana Image Masking Challenge: 16 views of each car.

https://www.kaggle.com/c/carvana-image-masking-challenge/data
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from byoc_vision.data.formats.base import Inputs, ParsedDataset
from byoc_vision.data.formats.channels import Split
from byoc_vision.data.formats.image_mask_pairs import MASK_SUFFIX, folders_of, has_inner_masks, pair
from byoc_vision.data.formats.scan import Folder
from byoc_vision.data.samples import DataOptions, Sample
from byoc_vision.errors import few
from byoc_vision.types import ClassInfo, Task

logger = logging.getLogger(__name__)

_STEM = re.compile(r"([0-9a-f]{12})_[0-9]{2}")
_SHOWN = 8


class Carvana:
    """`SPLIT/CAR_VIEW.jpg` and `SPLIT_masks/CAR_VIEW_mask.gif`, or both in one folder. A car is a group."""

    name = "carvana"
    task: Task = "segmentation"
    title = "Carvana's cars with masks"
    example = (
        "train/0cdf5b5d0ce1_01.jpg, …             or both in one folder:\n"
        "train_masks/0cdf5b5d0ce1_01_mask.gif, …  train/0cdf5b5d0ce1_01.jpg, 0cdf5b5d0ce1_01_mask.gif, …"
    )

    def matches(self, inputs: Inputs) -> bool:
        if not _has_masks(inputs.first):
            return False
        cars = [car_of(stem) for stem in inputs.first.images.image_stems()]
        return 2 * cars.count(None) < len(cars)

    def read(self, inputs: Inputs, options: DataOptions, classes: Sequence[ClassInfo] = ()) -> ParsedDataset:
        samples = {}
        for name, split in inputs.splits.items():
            if name == "test" and name != inputs.first.name and not _has_masks(split):
                logger.info("the test images in %s have no masks and are not evaluated", split.images.path)
                continue
            pairs = pair(*_folders(split))
            samples[name] = tuple(replace(sample, group=car_of(Path(sample.image.name).stem)) for sample in pairs)
        _warn_of_shared_cars(samples)
        return ParsedDataset(samples)


def car_of(stem: str) -> str | None:
    """The car that a file name of Carvana shows; None for other names."""
    match = _STEM.fullmatch(stem.removesuffix(MASK_SUFFIX))
    return match[1] if match else None


def _has_masks(split: Split) -> bool:
    return split.masks is not None or has_inner_masks(split.images) or _mixed(split) is not None


def _mixed(split: Split) -> Folder | None:
    """The folder that holds both images and masks, if there is one."""
    folder = split.images.unwrapped()[-1]
    return folder if split.masks is None and any(_is_mask(name) for name in folder.image_names) else None


def _is_mask(name: str) -> bool:
    return Path(name).stem.endswith(MASK_SUFFIX)


def _folders(split: Split) -> tuple[Folder, Folder]:
    """The folder of the images and the folder of the masks; a mixed folder becomes two."""
    folder = _mixed(split)
    if folder is None:
        return folders_of(split)
    images = tuple(name for name in folder.image_names if not _is_mask(name))
    masks = tuple(name for name in folder.image_names if _is_mask(name))
    return Folder(folder.path, images, ()), Folder(folder.path, masks, ())


def _warn_of_shared_cars(samples: Mapping[str, tuple[Sample, ...]]) -> None:
    """Warn if splits share cars: a model that has seen some views of a car knows the others."""
    cars = {name: {sample.group for sample in held if sample.group} for name, held in samples.items()}
    for name in cars.keys() - {"train"}:
        if shared := sorted(cars[name] & cars.get("train", set())):
            logger.warning(
                "%d of the %d cars in %s are also in train, so its metrics will be too good: %s. Keep all views of a "
                "car in one split, or give only train: the part held out of it shares no cars",
                len(shared),
                len(cars[name]),
                name,
                few(shared, _SHOWN),
            )
