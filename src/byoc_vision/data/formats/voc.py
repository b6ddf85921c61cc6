"""Segmentation in the folders of Pascal VOC, with its lists of splits.

http://host.robots.ox.ac.uk/pascal/VOC/voc2012/, section "Segmentation image sets". Tools export these folders, too.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from byoc_vision.data.formats.base import Inputs, ParsedDataset
from byoc_vision.data.formats.colour_tables import with_colours
from byoc_vision.data.formats.image_mask_pairs import by_stem
from byoc_vision.data.formats.lists import read_lines
from byoc_vision.data.formats.scan import Folder
from byoc_vision.data.formats.stems import composed
from byoc_vision.data.samples import DataOptions, Sample
from byoc_vision.data.targets import read_mask_values
from byoc_vision.errors import DataError, list_problems
from byoc_vision.types import ClassInfo, Task

logger = logging.getLogger(__name__)

VOID = 255
_CLASSES = 21  # with the background
_SAMPLED = 5
_LISTS = {"train": "train.txt", "validation": "val.txt", "test": "test.txt"}


class Voc:
    """`JPEGImages/*.jpg` and `SegmentationClass/*.png`; images without a mask are not read.

    `ImageSets/Segmentation/train.txt`, `val.txt` and `test.txt` name the images of the splits.
    """

    name = "voc"
    task: Task = "segmentation"
    title = "the folders of Pascal VOC"
    example = (
        "train/JPEGImages/1.jpg, 2.jpg, …\n"
        "train/SegmentationClass/1.png, 2.png, …\n"
        "train/ImageSets/Segmentation/train.txt, val.txt  (optional; a line per image: 1)"
    )

    def matches(self, inputs: Inputs) -> bool:
        return _root(inputs.first.images) is not None

    def read(self, inputs: Inputs, options: DataOptions, classes: Sequence[ClassInfo] = ()) -> ParsedDataset:
        roots = {name: root for name, split in inputs.splits.items() if (root := _root(split.images))}
        if missing := sorted(set(inputs.splits) - set(roots)):
            listed = ", ".join(str(inputs.splits[name].images.path) for name in missing)
            raise DataError(
                f"{listed}: there are no folders JPEGImages/ and SegmentationClass/ as in the training data"
            )
        samples = {name: tuple(_all_samples(root)) for name, root in roots.items()}
        first = next(iter(roots))
        if len(roots) == 1 and (lists := _split_lists(roots[first])):
            samples = _by_list(samples[first], lists)
        ignored = VOID if options.ignore_index is None and _has_void(next(iter(samples.values()))) else None
        found = ParsedDataset(samples, (), ignored)
        return with_colours(found, inputs, options, classes, [*roots.values(), *roots[first].folders])


def _root(folder: Folder) -> Folder | None:
    """The folder that holds JPEGImages/ and SegmentationClass/: this one, or one inside (`VOCdevkit/VOC2012`)."""
    both = ("jpegimages", "segmentationclass")
    return next((outer for outer in folder.unwrapped() if all(_inner(outer, name) for name in both)), None)


def _inner(folder: Folder, name: str) -> Folder | None:
    return next((inner for inner in folder.named(name) if inner.has_images), None)


def _split_lists(root: Folder) -> dict[str, Path]:
    """split → its list; empty without a list for training."""
    for sets in root.named("imagesets"):
        for lists in sets.named("segmentation"):
            if _LISTS["train"] in lists.files:
                return {split: lists.path / name for split, name in _LISTS.items() if name in lists.files}
    return {}


def _all_samples(root: Folder) -> list[Sample]:
    images, masks = _inner(root, "jpegimages"), _inner(root, "segmentationclass")
    if images is None or masks is None:
        raise ValueError(f"{root.path} is not a folder of Pascal VOC")
    image_of, mask_of = by_stem(images, "images"), by_stem(masks, "masks")
    both = [stem for stem in image_of if stem in mask_of]
    if not both:
        raise DataError(f"no mask in {masks.path} has the name of an image in {images.path}; rename the masks")
    if len(both) < len(mask_of):
        logger.warning("masks in %s without an image, which are not read: %d", masks.path, len(mask_of) - len(both))
    if len(both) < len(image_of):
        logger.warning("images in %s without a mask, which are not read: %d", images.path, len(image_of) - len(both))
    return [Sample(images.path / image_of[stem], masks.path / mask_of[stem]) for stem in both]


def _by_list(samples: Sequence[Sample], lists: Mapping[str, Path]) -> dict[str, tuple[Sample, ...]]:
    of_stem = {composed(sample.image.name.rpartition(".")[0]): sample for sample in samples}
    found: dict[str, tuple[Sample, ...]] = {}
    problems: list[str] = []
    for split, path in lists.items():
        lines = [(place, composed(text.split()[0])) for place, text in read_lines(path)]
        unknown = [
            f"{place}: there is no image with a mask named {stem!r}" for place, stem in lines if stem not in of_stem
        ]
        if split == "test" and len(unknown) == len(lines):
            logger.warning("%s names images without masks, which are not read: %d", path, len(lines))
            continue
        problems += unknown
        found[split] = tuple(of_stem[stem] for _, stem in lines if stem in of_stem)
    if problems:
        raise DataError(
            list_problems("lists of splits do not match the images; fix the lists or add the files:", problems)
        )
    if empty := [str(lists[split]) for split, held in found.items() if not held]:
        raise DataError(f"{', '.join(empty)} names no image; add names, or remove the list")
    return found


def _has_void(samples: Sequence[Sample]) -> bool:
    """Whether 255 is VOC's border: beside numbers of its classes, in a few masks."""
    values: set[int] = set()
    for sample in samples[:: max(1, len(samples) // _SAMPLED)][:_SAMPLED]:
        try:
            values |= set(np.unique(read_mask_values(sample)).tolist())
        except DataError:
            continue  # the check before training names it
    return (
        VOID in values
        and any(0 < value < _CLASSES for value in values)
        and all(value < _CLASSES for value in values - {VOID})
    )
