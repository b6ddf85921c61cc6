"""Classification: one folder for each class."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from byoc_vision.data.formats.base import Inputs, ParsedDataset
from byoc_vision.data.formats.channels import MASK_FOLDER_NAMES, Split, split_named
from byoc_vision.data.formats.image_mask_pairs import has_inner_masks, warn_about_unread
from byoc_vision.data.formats.label_parsing import without_small_classes
from byoc_vision.data.formats.prepared import read_class_folders
from byoc_vision.data.formats.scan import Folder
from byoc_vision.data.samples import DataOptions, Sample
from byoc_vision.errors import DataError, InputError, few, list_problems
from byoc_vision.types import ClassInfo, Task

logger = logging.getLogger(__name__)


# Numbers of class folders in CUB, Caltech-256 and the dog breeds (`001.`), and ImageNet's ids (`n02085620-`).
_PREFIX = re.compile(r"([0-9]+\.|n[0-9]{8}-)(?=[^\W\d_])")
_MASK_BESIDE = re.compile(r"_(mask|segmentation|label|seg|gt)$", re.IGNORECASE)


class ClassFolders:
    """`SPLIT/CLASS/**/*.jpg`; the folders of the training split name the classes, in natural order.

    If all have a prefix as in `001.Affenpinscher` or `n02085620-Chihuahua`, the rest is the class's name.
    """

    name = "class_folders"
    task: Task = "classification"
    title = "class folders"
    example = (
        "train/cat/1.jpg, 2.jpg, …  or  train/001.cat/1.jpg, …\n"
        "train/dog/3.jpg, 4.jpg, …      train/002.dog/3.jpg, …\n"
        "validation/ (or valid/, val/) and test/ likewise"
    )

    def matches(self, inputs: Inputs) -> bool:
        images = inputs.first.images
        return not has_inner_masks(images) and bool(images.image_folders)

    def read(self, inputs: Inputs, options: DataOptions, classes: Sequence[ClassInfo] = ()) -> ParsedDataset:
        if prepared := read_class_folders(inputs, classes):
            return prepared
        inputs = _unwrapped(inputs)
        splits = inputs.splits
        _check_no_splits(inputs, options, classes)
        if not classes:
            _check_no_parts(inputs.first.images, options)
        _check_no_masks_among_images(inputs.first.images)
        warn_about_unread([split.images for split in splits.values()])
        names = [entry.name for entry in classes] or self._class_names(splits["train"].images)
        may_be_small = not classes and options.min_class_count is not None
        problems = [problem for split in splits.values() for problem in _problems(split, names, may_be_small)]
        if problems:
            raise DataError(list_problems("the class folders do not match:", problems))
        samples = {name: tuple(_samples(split.images, names)) for name, split in splits.items()}
        if classes:
            return ParsedDataset(samples, tuple(ClassInfo(name) for name in names))
        return ParsedDataset(*without_small_classes(samples, names, options.min_class_count))

    def _class_names(self, train: Folder) -> list[str]:
        if not train.folders:
            raise DataError(f"{train.path} holds no class folders. Expected:\n{self.example}")
        if len(train.folders) < 2:
            raise DataError(
                f"{train.path} holds a single class folder, {train.folders[0].name!r}; a classifier needs two or more. "
                f"Expected:\n{self.example}"
            )
        return without_prefixes([folder.name for folder in train.folders])


def _unwrapped(inputs: Inputs) -> Inputs:
    """The folders of classes, also if they are in a single folder, as archives unpack: `PetImages/Cat`, `…/Dog`."""
    if len(_holder(inputs.first.images).image_folders) < 2:
        return inputs
    splits = {name: replace(split, images=_holder(split.images)) for name, split in inputs.splits.items()}
    return replace(inputs, splits=splits)


def _holder(folder: Folder) -> Folder:
    """The innermost single folder with images that are all in folders of their own; otherwise the folder itself."""
    inner = reversed(folder.unwrapped(only_images=True))
    return next((one for one in inner if not one.image_names), folder)


def _check_no_splits(inputs: Inputs, options: DataOptions, classes: Sequence[ClassInfo]) -> None:
    """Raises InputError if class folders look like splits, unless the user or the other splits say that they do not."""
    train = inputs.first.images
    inner = train.image_folders
    in_all = set.intersection(*({folder.name for folder in split.images.folders} for split in inputs.splits.values()))
    known = {entry.name for entry in classes} | (in_all if len(inputs.splits) > 1 else set())
    splits = [folder for folder in inner if split_named(folder.name) and folder.name not in known]
    is_nested = any(not folder.image_names for folder in splits)
    if not splits or (options.layout == "class_folders" and not is_nested):
        return
    found, others = (", ".join(f"{one.name}/" for one in inner if (one in splits) is which) for which in (True, False))
    raise InputError(
        f"{train.path} can be read in two ways: {found} as splits, or as classes{f' like {others}' if others else ''}. "
        "If they are splits, leave only splits in this folder, train/ among them; if they are classes, "
        + ("rename them" if is_nested else "set data_layout=class_folders, or rename them")
    )


def _check_no_parts(train: Folder, options: DataOptions) -> None:
    """Raises InputError if each class folder holds the same folders, as `fold1/cat`, `fold2/cat`: which are classes?"""
    inner = train.image_folders
    names = {tuple(below.name for below in folder.image_folders) for folder in inner}
    shared = next(iter(names), ())
    if len(inner) < 2 or len(names) > 1 or len(shared) < 2 or any(folder.image_names for folder in inner):
        return
    if options.layout != "class_folders" and not has_inner_masks(inner[0]):
        raise InputError(
            f"{train.path} can be read in two ways, because each folder in it holds the same folders: as the classes "
            f"{few([one.name for one in inner], 4)}, or as the classes {few(shared, 4)} in several parts. For the "
            "first, set data_layout=class_folders; for the second, put the images of a class into one folder"
        )


def _check_no_masks_among_images(train: Folder) -> None:
    """Raises InputError if most images have a mask beside them: `1.png`, `1_mask.png`."""
    if nested := next((below for one in train.folders for below in one.folders if has_inner_masks(below)), None):
        raise InputError(
            f"{nested.path} holds images and masks, so {train.path} does not look like class folders. For "
            "segmentation, leave only folders of images and masks, or of splits, in it; for classification, remove the "
            "masks"
        )
    stems = {str(path.with_suffix("")) for path in train.images()}
    masks = [stem for stem in stems if _MASK_BESIDE.search(stem)]
    paired = [stem for stem in masks if _MASK_BESIDE.sub("", stem) in stems]
    if paired and 3 * len(paired) >= len(stems):
        raise InputError(
            f"{train.path} holds images and masks in the same folders, such as {min(paired)} beside its image. For "
            "segmentation, move the images into images/ and the masks into masks/; for classification, remove the masks"
        )


def without_prefixes(folders: Sequence[str]) -> list[str]:
    """The names without their prefix, if each has one and they still differ; otherwise unchanged."""
    plain = [_without_prefix(name) for name in folders]
    is_plain = all(_PREFIX.match(name) for name in folders) and len(set(plain)) == len(plain)
    return plain if is_plain else list(folders)


def _without_prefix(name: str) -> str:
    prefix = _PREFIX.match(name)
    return name[prefix.end() :] if prefix else name


def _class_of(folder: Folder, names: Sequence[str]) -> str:
    """The class of a folder: its name, or its name without the prefix if that is a class."""
    plain = _without_prefix(folder.name)
    return plain if folder.name not in names and plain in names else folder.name


def _samples(folder: Folder, names: list[str]) -> list[Sample]:
    label_of = {name: label for label, name in enumerate(names)}
    return [
        Sample(inner.path / image, label=label)
        for inner in folder.folders
        for label in [label_of[_class_of(inner, names)]]
        for image in _images(inner)
    ]


def _images(folder: Folder) -> Iterator[PurePosixPath]:
    """The images of a class, without masks in a folder beside them."""
    if not has_inner_masks(folder):
        return folder.images()
    masks = [inner.name for inner in folder.folders if inner.name.lower() in MASK_FOLDER_NAMES]
    logger.warning("%s: the masks in %s/ are not read, as the data are class folders", folder.path, masks[0])
    return (image for image in folder.images() if image.parts[0] not in masks)


def _problems(split: Split, names: list[str], may_be_empty: bool) -> list[str]:
    folder = split.images
    if not folder.folders:
        return [f"{folder.path} holds no class folders; expected: {', '.join(names)}"]
    if folder.image_names:
        count = len(folder.image_names)
        logger.warning("images in %s outside of class folders, which are not read: %d", folder.path, count)
    unknown = [
        f"{inner.path}: there is no class {inner.name!r} in training (classes: {', '.join(names)}); add training "
        f"images of it, rename the folder, or remove it from {split.name}"
        for inner in folder.folders
        if _class_of(inner, names) not in names
    ]
    if may_be_empty:
        return unknown
    empty = [f"{inner.path}: {_emptiness(inner)}" for inner in folder.folders if not inner.has_images]
    return unknown + empty


def _emptiness(folder: Folder) -> str:
    if folder.is_empty:
        return "the class folder is empty; add images or remove it"
    if endings := folder.unread_endings():
        counts = ", ".join(f"{count} × {ending}" for ending, count in endings.most_common())
        return f"the class folder holds no images (.jpg, .png, …), only {counts}; convert them to JPEG or PNG"
    sample = folder.files[0] if folder.files else f"{folder.folders[0].name}/"
    return f"the class folder holds no images (.jpg, .png, …), only files like {sample!r}"
