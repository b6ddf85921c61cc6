"""Which channel, or which folder within a channel, is which split."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

from byoc_vision.data.formats.scan import Folder, listed, scan
from byoc_vision.errors import InputError

logger = logging.getLogger(__name__)


# Channels with another purpose: pretrained weights, augmentations, and what the SageMaker SDKs add.
NOT_DATA = frozenset({"pretrained", "model", "code", "sm_drivers", "augmentation"})

# Channels that describe the images of other channels: lists and label maps of the built-in algorithms.
_LABEL_MAP_NAME = re.compile(r"((train|validation|test)[_-])?label[_-]map", re.IGNORECASE)
_EXTRA_NAME = re.compile(rf"(train|validation|test)[_-](lst|manifest|csv)|{_LABEL_MAP_NAME.pattern}", re.IGNORECASE)

MASK_FOLDER_NAMES = (
    "masks", "mask", "annotations", "annotation", "annot", "labels", "label", "segmentationclass", "ann_dir",
)  # fmt: skip

SPLIT_NAMES = {
    "train": "train",
    "training": "train",  # the SDK's name for a lone channel
    "trainval": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "eval": "validation",
    "evaluation": "validation",
    "test": "test",
    "testing": "test",
}
# `train`, `Training`, `seg_train`, `train_data`, `training_set`, `train_images`, `images_train`, `x_train`, `val2017`;
# with masks `train_masks`, `masks_train`, `y_train`.
_CHANNEL_NAME = re.compile(
    rf"(?:(?:seg|set|data|images?|imgs?|x|stage[0-9])[_-]|({'|'.join(MASK_FOLDER_NAMES)}|y)[_-])?"
    rf"({'|'.join(SPLIT_NAMES)})(?:20[0-9][0-9])?"
    rf"(?:[_-]?(?:set|data|dataset|split|images?|imgs?)|[_-]?({'|'.join(MASK_FOLDER_NAMES)}))?",
    re.IGNORECASE,
)
_SIBLING_NAME = re.compile(rf"[_-]({'|'.join(MASK_FOLDER_NAMES)})", re.IGNORECASE)


@dataclass(frozen=True)
class Split:
    """The folders of one split.

    name: train, validation or test.
    masks: the folder of its masks, if separate from `images`.
    parent: the folder that contains the folders of the splits, if there is one; it may also contain lists.
    """

    name: str
    images: Folder
    masks: Folder | None = None
    parent: Folder | None = None


def find_splits(channels: Mapping[str, Path | Folder]) -> dict[str, Split]:
    """The splits in the channels, training first. A channel may be listed already.

    If the training channel contains folders `train`, `validation`, `train_masks`, …, or a single folder with these,
    they are read like channels. If each of its folders contains splits (`images/train`, `masks/train`, or `cat/train`,
    `dog/train`), these are the splits.
    Raises InputError if the training channel is missing, or a split is given twice or without images.
    """
    folders = [(name, listed(channel)) for name, channel in channels.items() if _role(name)]
    if unknown := sorted(name for name in channels if not _role(name) and not _is_foreign(name)):
        logger.warning("channels without a known split are not read: %s", ", ".join(unknown))
    roles = _by_role(folders)
    training = roles.get(("train", False))
    parent = _parent_of_splits(training, ("train",)) if training else None
    if parent:
        outer = [(name, folder) for name, folder in folders if folder is not training]
        roles = _by_role([*outer, *((folder.name, folder) for folder in parent.folders)])
    elif inner := _inner_splits(training) if training else {}:
        outer = [(name, folder) for name, folder in folders if folder is not training]
        roles = _by_role([*outer, *inner.items()])
    if ("train", False) not in roles:
        raise InputError(_no_training_channel(channels))
    return _splits(roles, parent, training if parent is not None and training and not parent.files else parent)


def find_extras(channels: Mapping[str, Path | Folder]) -> dict[str, Folder]:
    """The channels with lists or label maps, by name, in lower case and with underscores."""
    return {_plain(name): listed(channel) for name, channel in channels.items() if _EXTRA_NAME.fullmatch(name)}


def is_channel_name(name: str) -> bool:
    """Whether a folder with this name is read as a channel: images or masks of a split, lists, or a label map."""
    return _role(name) is not None or _EXTRA_NAME.fullmatch(name) is not None


def splits_within(folder: Folder) -> dict[str, Split]:
    """The splits that a folder contains as folders; none if it also contains other folders or images."""
    parent = _parent_of_splits(folder, ("train", "validation", "test"))
    if parent is None:
        return _splits(_by_role(_inner_splits(folder).items()), None)
    return _splits(_by_role((inner.name, inner) for inner in parent.folders), parent)


def single_split(folder: Folder) -> Split:
    """A single folder of images, with the masks and the label maps beside it."""
    beside = [folder.path.with_name(name) for name in ("label_map", f"{folder.name}_label_map")]
    label_maps = tuple(scan(path) for path in beside if path.is_dir())
    parent = Folder(folder.path.parent, (), label_maps) if label_maps else None
    return Split("test", folder, sibling_masks(folder.path), parent)


def is_label_map(name: str) -> bool:
    """Whether a channel or a folder with this name holds label maps: `label_map`, `train_label_map`, …"""
    return _LABEL_MAP_NAME.fullmatch(name) is not None


def _splits(
    roles: Mapping[tuple[str, bool], Folder], parent: Folder | None, lists: Folder | None = None
) -> dict[str, Split]:
    """lists: the folder above them that may hold lists; by default the parent of the splits."""
    for split, is_mask in roles:
        if is_mask and (split, False) not in roles:
            raise InputError(f"there are masks for {split} but no channel {split!r} with the images")
    inner = {folder.path for folder in parent.folders} if parent else set()
    return {
        split: Split(
            split,
            *_without_siblings(_unrepeated(roles[split, False], split), roles.get((split, True))),
            (lists or parent) if roles[split, False].path in inner else None,
        )
        for split in ("train", "validation", "test")
        if (split, False) in roles
    }


def _unrepeated(folder: Folder, split: str) -> Folder:
    """The folder inside that has the name of the split again, as archives of single splits unpack."""
    while len(folder.folders) == 1 and not folder.files and split_named(folder.folders[0].name) == split:
        folder = folder.folders[0]
    return folder


def _without_siblings(images: Folder, masks: Folder | None) -> tuple[Folder, Folder | None]:
    """Undo an S3 prefix without a slash at its end: `train` also matches `train_annotation/`, as `_annotation/`."""
    siblings = [inner for inner in images.folders if _SIBLING_NAME.fullmatch(inner.name)]
    if not siblings:
        return images, masks
    logger.warning(
        "%s is the folder of masks beside the images: end the channel's S3Uri with a slash", siblings[0].path
    )
    others = tuple(inner for inner in images.folders if inner not in siblings)
    return Folder(images.path, images.files, others), masks or siblings[0]


def sibling_masks(folder: Path) -> Folder | None:
    """The folder of masks beside a folder of images: `validation_annotation`, `validation_masks`, `testannot`, …"""
    beside = (folder.with_name(f"{folder.name}{dash}{name}") for name in MASK_FOLDER_NAMES for dash in ("_", ""))
    return next((scan(path) for path in beside if path.is_dir()), None)


def _is_foreign(name: str) -> bool:
    return name in NOT_DATA or _EXTRA_NAME.fullmatch(name) is not None


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")


def _role(name: str) -> tuple[str, bool] | None:
    """The split that a channel's or a folder's name means, and whether it holds masks."""
    match = _CHANNEL_NAME.fullmatch(name)
    return (SPLIT_NAMES[match[2].lower()], match[1] is not None or match[3] is not None) if match else None


def _by_role(folders: Iterable[tuple[str, Folder]]) -> dict[tuple[str, bool], Folder]:
    roles: dict[tuple[str, bool], Folder] = {}
    for name, folder in folders:
        role = _role(name)
        if role is None:
            continue
        if role in roles:
            raise InputError(
                f"{roles[role].path} and {folder.path} both give the {role[0]} {'masks' if role[1] else 'images'}; "
                "give one of them"
            )
        roles[role] = folder
    return roles


def _parent_of_splits(folder: Folder, splits: Iterable[str]) -> Folder | None:
    """The folder that contains folders of splits, including any of `splits`: this one, or a single one in it."""
    for parent in folder.unwrapped():
        if any(_holds_splits(parent, split) for split in splits):
            if others := [inner.name for inner in parent.folders if not _role(inner.name) and not _is_extra(inner)]:
                logger.info("folders in %s that are not splits are not read: %s", parent.path, ", ".join(others))
            return parent
    return None


def _holds_splits(folder: Folder, split: str) -> bool:
    """Whether the folders in a folder are splits, including `split`, and not classes with such names.

    They are if all of them are splits, or if the split has its masks beside it.
    """
    roles = [_role(inner.name) for inner in folder.folders if not _is_extra(inner)]
    if folder.image_names or (split, False) not in roles:
        return False
    is_alone = len(roles) == 1 and bool(folder.folders[0].image_names)  # one class, or images without any
    return (not is_alone and None not in roles) or (split, True) in roles


def split_named(name: str) -> str | None:
    """The split of images that a folder with this name means: `train`, `validation` or `test`; None for others."""
    role = _role(name)
    return role[0] if role and not role[1] else None


def split_of_path(path: PurePath) -> str | None:
    """The split that a folder in a relative path means; None if there is not exactly one."""
    found = {split for part in path.parts[:-1] if (split := split_named(part))}
    return found.pop() if len(found) == 1 else None


def _inner_splits(folder: Folder) -> dict[str, Folder]:
    """The splits inside class folders, or inside the folders of images and masks; each as the folder without the rest.

    Every folder with images must hold nothing but splits, and there must be two or more.
    """
    for outer in folder.unwrapped():
        holders = outer.image_folders
        if outer.image_names or len(holders) < 2 or not all(map(_holds_only_splits, holders)):
            continue
        splits: dict[str, list[Folder]] = {}
        for holder in holders:
            of_split: dict[str, list[Folder]] = {}
            for inner in holder.folders:
                if split := split_named(inner.name):
                    of_split.setdefault(split, []).append(inner)
            for split, parts in of_split.items():
                splits.setdefault(split, []).append(Folder(holder.path, (), tuple(parts)))
        if "train" in splits and len(splits) > 1:
            return {split: Folder(outer.path, outer.files, tuple(parts)) for split, parts in splits.items()}
    return {}


def _holds_only_splits(folder: Folder) -> bool:
    inner = folder.image_folders
    return bool(inner) and not folder.image_names and all(split_named(one.name) for one in inner)


def _is_extra(folder: Folder) -> bool:
    return _EXTRA_NAME.fullmatch(folder.name) is not None


def _no_training_channel(channels: Mapping[str, Path | Folder]) -> str:
    there = ", ".join(sorted(channels)) or "none"
    parents = {str(channel.parent) for channel in channels.values() if isinstance(channel, Path)}
    where = f" in {min(parents)}" if parents else ""
    return (
        f"the channel 'train' is missing{where} (channels given: {there}). Expected:\n"
        "  train/                the training images, in class folders or with masks\n"
        "  train_annotation/     their masks, unless they are in train/masks/\n"
        "  validation/           optional: without it a share of the training images is held out\n"
        "  validation_annotation/"
    )


def channels_in(folder: Path) -> dict[str, Path]:
    """A local folder as the channels of a job, by name.

    A folder of channels, such as a job's `input/data`, contains only folders with names of channels, including `train`.
    Of a job's folder, and of its folder `input`, the channels below are read.
    Any other folder is the training channel, with the masks beside it if there are any.
    Raises InputError if it is not a folder or cannot be listed.
    """
    if (folder / "input/data").is_dir():
        folder = folder / "input/data"
    elif folder.name == "input" and (folder / "data").is_dir():
        folder = folder / "data"
    try:
        inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise InputError(f"{folder} cannot be listed: {error.strerror or error}; name a folder of images") from error
    names = {path.name for path in inside}
    if "train" in names and all(_is_channel(path) for path in inside):
        return {path.name: path for path in inside}
    masks = sibling_masks(folder)
    return {"train": folder} | ({"train_annotation": masks.path} if masks else {})


def _is_channel(path: Path) -> bool:
    return path.is_dir() and (is_channel_name(path.name) or path.name in NOT_DATA)
