"""Segmentation: images, and a mask of the same name for each."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from byoc_vision.data.formats.base import Inputs, ParsedDataset
from byoc_vision.data.formats.channels import MASK_FOLDER_NAMES, Split
from byoc_vision.data.formats.prepared import with_class_names
from byoc_vision.data.formats.scan import Folder
from byoc_vision.data.samples import DataOptions, Sample
from byoc_vision.errors import DataError, list_problems
from byoc_vision.types import ClassInfo, Task

logger = logging.getLogger(__name__)

IMAGE_FOLDER_NAMES = ("images", "image", "imgs", "img", "jpegimages")
MASK_SUFFIX = "_mask"  # Carvana's
_SHOWN = 8


class ImagesWithMasks:
    """Images in `SPLIT` and masks in `SPLIT_annotation`, or `SPLIT/images` and `SPLIT/masks`.

    A mask has the relative path of its image without the ending, or that and `_mask`.
    """

    name = "pictures_and_masks"
    task: Task = "segmentation"
    title = "images with masks"
    example = (
        "train/images/1.jpg, 2.jpg, …        or  train/1.jpg, 2.jpg, …\n"
        "train/masks/1.png, 2.png, …             train_annotation/1.png, 2.png, …"
    )

    def matches(self, inputs: Inputs) -> bool:
        return inputs.first.masks is not None or has_inner_masks(inputs.first.images)

    def read(self, inputs: Inputs, options: DataOptions, classes: Sequence[ClassInfo] = ()) -> ParsedDataset:
        found = ParsedDataset({name: tuple(pair(*folders_of(split))) for name, split in inputs.splits.items()})
        return with_class_names(found, inputs, options)


def folders_of(split: Split) -> tuple[Folder, Folder]:
    """The folder of the images and the folder of the masks. Raises DataError if one is missing or ambiguous."""
    if split.masks is not None:
        return split.images, split.masks
    images = _named(split.images, IMAGE_FOLDER_NAMES)
    masks = _named(split.images, MASK_FOLDER_NAMES)
    if not images or not masks:
        raise DataError(
            f"there are no masks for the {split.name} images in {split.images.path}: give a channel "
            f"'{split.name}_annotation', or folders images/ and masks/ in it"
        )
    for folders in (images, masks):
        if len(folders) > 1:
            names = " and ".join(f"{folder.name}/" for folder in folders)
            raise DataError(f"{split.images.path} has both {names} with images; keep one of them")
    return images[0], masks[0]


def has_inner_masks(folder: Folder) -> bool:
    """Whether a folder contains images/ and masks/, by any of their names, both with images."""
    return bool(_named(folder, IMAGE_FOLDER_NAMES) and _named(folder, MASK_FOLDER_NAMES))


def _named(folder: Folder, names: Iterable[str]) -> list[Folder]:
    return [inner for inner in folder.folders if inner.name.lower() in names and inner.has_images]


def pair(images: Folder, masks: Folder) -> list[Sample]:
    """Each image with its mask. Raises DataError that names the images without a mask."""
    image_of = by_stem(images, "images")
    mask_of = by_stem(masks, "masks")
    pairs: dict[str, str] = {}
    for stem in mask_of:
        image = stem if stem in image_of else stem.removesuffix(MASK_SUFFIX)
        if image in pairs:
            raise DataError(
                f"{masks.path} has two masks for {image_of[image]}: {mask_of[pairs[image]]} and {mask_of[stem]}; "
                "keep one of them"
            )
        if image in image_of:
            pairs[image] = stem
    without_mask = [str(image_of[stem]) for stem in image_of if stem not in pairs]
    used = set(pairs.values())
    without_image = [str(mask_of[stem]) for stem in mask_of if stem not in used]
    if without_mask:
        raise DataError(_unpaired(images, masks, len(image_of), without_mask, without_image))
    if without_image:
        logger.warning(
            "masks in %s without an image, which are not read: %d, such as %s",
            masks.path,
            len(without_image),
            without_image[0],
        )
    return [Sample(images.path / image_of[stem], masks.path / mask_of[pairs[stem]]) for stem in image_of]


def by_stem(folder: Folder, what: str) -> dict[str, PurePosixPath]:
    """The images of a folder by their relative path without the ending. what: images or masks, for messages.

    Raises DataError if two differ only in the ending, or if there are none.
    """
    found: dict[str, PurePosixPath] = {}
    doubles: list[str] = []
    for path in folder.images():
        stem = str(path.with_suffix(""))
        if stem in found:
            doubles.append(f"{found[stem]} and {path}")
        found.setdefault(stem, path)
    if doubles:
        headline = f"{folder.path} has {what} that differ only in the ending; keep one of each:"
        raise DataError(list_problems(headline, doubles))
    if not found:
        raise DataError(f"{folder.path} holds no {what} (.jpg, .png, …)")
    return found


def _unpaired(images: Folder, masks: Folder, count: int, no_mask: list[str], no_image: list[str]) -> str:
    lines = []
    for what, names in (("image without a mask", no_mask), ("mask without an image", no_image)):
        lines += [f"{what}: {name}" for name in names[:_SHOWN]]
        lines += [f"{what}: … and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    return list_problems(
        f"{len(no_mask)} of {count} images in {images.path} have no mask in {masks.path}; a mask has the name of "
        f"its image, or that name and {MASK_SUFFIX!r}, with any ending:",
        lines,
    )
