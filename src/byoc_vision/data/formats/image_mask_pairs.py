"""Segmentation: pictures, and a mask of the same name for each."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from byoc_vision.data.formats.base import Found, Inputs
from byoc_vision.data.formats.channels import MASK_FOLDER_NAMES, Split
from byoc_vision.data.formats.prepared import name_values
from byoc_vision.data.formats.scan import Folder
from byoc_vision.data.samples import DataClass, DataOptions, Sample
from byoc_vision.errors import DataError, list_problems
from byoc_vision.types import Task

logger = logging.getLogger(__name__)

PICTURE_FOLDER_NAMES = ("images", "image", "imgs", "img", "jpegimages")
MASK_SUFFIX = "_mask"  # Carvana's
_SHOWN = 8


class PicturesWithMasks:
    """Pictures in `SPLIT` and masks in `SPLIT_annotation`, or `SPLIT/images` and `SPLIT/masks`.

    A mask has the relative path of its picture without the ending, or that and `_mask`.
    """

    name = "pictures_and_masks"
    task: Task = "segmentation"
    title = "pictures with masks"
    tree = (
        "train/images/1.jpg, 2.jpg, …        or  train/1.jpg, 2.jpg, …\n"
        "train/masks/1.png, 2.png, …             train_annotation/1.png, 2.png, …"
    )

    def recognise(self, inputs: Inputs) -> bool:
        return inputs.first.masks is not None or has_inner_masks(inputs.first.pictures)

    def read(self, inputs: Inputs, options: DataOptions, classes: Sequence[DataClass] = ()) -> Found:
        found = Found({name: tuple(pair(*folders_of(split))) for name, split in inputs.splits.items()})
        return name_values(found, inputs, options)


def folders_of(split: Split) -> tuple[Folder, Folder]:
    """The folder of the pictures and that of the masks. Raises DataError where either is missing or there are two."""
    if split.masks is not None:
        return split.pictures, split.masks
    pictures = _named(split.pictures, PICTURE_FOLDER_NAMES)
    masks = _named(split.pictures, MASK_FOLDER_NAMES)
    if not pictures or not masks:
        raise DataError(
            f"there are no masks for the {split.name} pictures in {split.pictures.path}: give a channel "
            f"'{split.name}_annotation', or folders images/ and masks/ in it"
        )
    for folders in (pictures, masks):
        if len(folders) > 1:
            names = " and ".join(f"{folder.name}/" for folder in folders)
            raise DataError(f"{split.pictures.path} has both {names} with pictures; which is meant? Keep one")
    return pictures[0], masks[0]


def has_inner_masks(folder: Folder) -> bool:
    """Whether a folder holds images/ and masks/, by any of their names, both with pictures."""
    return bool(_named(folder, PICTURE_FOLDER_NAMES) and _named(folder, MASK_FOLDER_NAMES))


def _named(folder: Folder, names: Iterable[str]) -> list[Folder]:
    return [inner for inner in folder.folders if inner.name.lower() in names and inner.has_pictures]


def pair(pictures: Folder, masks: Folder) -> list[Sample]:
    """Each picture with its mask. Raises DataError that names those that have none."""
    picture_of = by_stem(pictures, "pictures")
    mask_of = by_stem(masks, "masks")
    pairs: dict[str, str] = {}
    for stem in mask_of:
        picture = stem if stem in picture_of else stem.removesuffix(MASK_SUFFIX)
        if picture in pairs:
            raise DataError(
                f"{masks.path} has two masks for {picture_of[picture]}: {mask_of[pairs[picture]]} and {mask_of[stem]}; "
                "keep one of them"
            )
        if picture in picture_of:
            pairs[picture] = stem
    without_mask = [str(picture_of[stem]) for stem in picture_of if stem not in pairs]
    used = set(pairs.values())
    without_picture = [str(mask_of[stem]) for stem in mask_of if stem not in used]
    if without_mask:
        raise DataError(_unpaired(pictures, masks, len(picture_of), without_mask, without_picture))
    if without_picture:
        logger.warning(
            "masks in %s that belong to no picture and are not read: %d, such as %s",
            masks.path,
            len(without_picture),
            without_picture[0],
        )
    return [Sample(pictures.path / picture_of[stem], masks.path / mask_of[pairs[stem]]) for stem in picture_of]


def by_stem(folder: Folder, what: str) -> dict[str, PurePosixPath]:
    """The pictures of a folder by their relative path without the ending. what: pictures or masks.

    Raises DataError where two differ in the ending alone, and where there is none.
    """
    found: dict[str, PurePosixPath] = {}
    doubles: list[str] = []
    for path in folder.pictures():
        stem = str(path.with_suffix(""))
        if stem in found:
            doubles.append(f"{found[stem]} and {path}")
        found.setdefault(stem, path)
    if doubles:
        headline = f"{folder.path} has {what} of the same name but for the ending; keep one of each:"
        raise DataError(list_problems(headline, doubles))
    if not found:
        raise DataError(f"{folder.path} holds no {what} (.jpg, .png, …)")
    return found


def _unpaired(pictures: Folder, masks: Folder, count: int, no_mask: list[str], no_picture: list[str]) -> str:
    lines = []
    for what, names in (("picture without a mask", no_mask), ("mask without a picture", no_picture)):
        lines += [f"{what}: {name}" for name in names[:_SHOWN]]
        lines += [f"{what}: … and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    return list_problems(
        f"{len(no_mask)} of {count} pictures in {pictures.path} have no mask in {masks.path}; a mask has the name of "
        f"its picture, or that name and {MASK_SUFFIX!r}, with any ending:",
        lines,
    )
