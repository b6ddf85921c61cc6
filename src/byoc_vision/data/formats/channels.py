"""Which channel, or which folder within a channel, is which split."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from byoc_vision.data.formats.scan import Folder, listed, scan
from byoc_vision.errors import InputError

logger = logging.getLogger(__name__)


# Channels of other meaning: weights to start from, and what the SageMaker SDKs add.
NOT_DATA = frozenset({"pretrained", "model", "code", "sm_drivers", "augmentation"})

# Channels that describe the images of others: lists and label maps of the built-in algorithms.
_LABEL_MAP_NAME = re.compile(r"((train|validation|test)[_-])?label[_-]map", re.IGNORECASE)
_EXTRA_NAME = re.compile(rf"(train|validation|test)[_-](lst|manifest|csv)|{_LABEL_MAP_NAME.pattern}", re.IGNORECASE)

MASK_FOLDER_NAMES = ("masks", "mask", "annotations", "annotation", "annot", "labels", "label")

_SPLIT_NAMES = {
    "train": "train",
    "training": "train",  # the SDK's name for a lone channel
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}
_CHANNEL_NAME = re.compile(rf"({'|'.join(_SPLIT_NAMES)})(?:[_-]?({'|'.join(MASK_FOLDER_NAMES)}))?", re.IGNORECASE)


@dataclass(frozen=True)
class Split:
    """The folders of one split.

    name: train, validation or test.
    masks: the folder of its masks where that is apart from `images`.
    around: the folder that holds those of the splits, where one does; lists of files may lie there.
    """

    name: str
    images: Folder
    masks: Folder | None = None
    around: Folder | None = None


def find_splits(channels: Mapping[str, Path | Folder]) -> dict[str, Split]:
    """The splits that the channels hold, training first. A channel may have been listed before.

    A training channel that holds folders `train`, `validation`, `train_masks`, … is read as if these were channels,
    also where they lie in a folder of their own in it.
    Raises InputError where the training channel is missing, or a split is given twice or without images.
    """
    folders = [(name, listed(channel)) for name, channel in channels.items() if _role(name)]
    if unknown := sorted(name for name in channels if not _role(name) and not _is_foreign(name)):
        logger.warning("channels that hold no known split are not read: %s", ", ".join(unknown))
    roles = _by_role(folders)
    training = roles.get(("train", False))
    around = _around_splits(training, ("train",)) if training else None
    if around:
        outer = [(name, folder) for name, folder in folders if folder is not training]
        roles = _by_role([*outer, *((folder.name, folder) for folder in around.folders)])
    if ("train", False) not in roles:
        raise InputError(_no_training_channel(channels))
    return _splits(roles, around)


def find_extras(channels: Mapping[str, Path | Folder]) -> dict[str, Folder]:
    """The channels that hold lists or label maps, by name, in lower case and with underscores."""
    return {_plain(name): listed(channel) for name, channel in channels.items() if _EXTRA_NAME.fullmatch(name)}


def is_channel_name(name: str) -> bool:
    """Whether a folder of this name is read as a channel: images or masks of a split, lists, or a label map."""
    return _role(name) is not None or _EXTRA_NAME.fullmatch(name) is not None


def splits_within(folder: Folder) -> dict[str, Split]:
    """The splits that a folder holds as folders of their names; none where it holds other folders or images too."""
    around = _around_splits(folder, ("train", "validation", "test"))
    if around is None:
        return {}
    return _splits(_by_role((inner.name, inner) for inner in around.folders), around)


def lone_split(folder: Folder) -> Split:
    """A folder of images by itself, with the masks and the label maps that lie beside it."""
    beside = [folder.path.with_name(name) for name in ("label_map", f"{folder.name}_label_map")]
    label_maps = tuple(scan(path) for path in beside if path.is_dir())
    around = Folder(folder.path.parent, (), label_maps) if label_maps else None
    return Split("test", folder, masks_beside(folder.path), around)


def is_label_map(name: str) -> bool:
    """Whether a channel or a folder of this name holds label maps: `label_map`, `train_label_map`, …"""
    return _LABEL_MAP_NAME.fullmatch(name) is not None


def unwrapped(folder: Folder) -> Folder:
    """The only folder in a folder that holds nothing else but loose files, as archives unpack; else the folder."""
    return folder.folders[0] if len(folder.folders) == 1 and not folder.image_names else folder


def _splits(roles: Mapping[tuple[str, bool], Folder], around: Folder | None) -> dict[str, Split]:
    for split, is_mask in roles:
        if is_mask and (split, False) not in roles:
            raise InputError(f"there are masks for the {split} images but no channel {split!r} with the images")
    inner = {folder.path for folder in around.folders} if around else set()
    return {
        split: Split(
            split,
            roles[split, False],
            roles.get((split, True)),
            around if roles[split, False].path in inner else None,
        )
        for split in ("train", "validation", "test")
        if (split, False) in roles
    }


def masks_beside(folder: Path) -> Folder | None:
    """The folder of masks beside a folder of images: `validation_annotation`, `validation_masks`, `testannot`, …"""
    beside = (folder.with_name(f"{folder.name}{dash}{name}") for name in MASK_FOLDER_NAMES for dash in ("_", ""))
    return next((scan(path) for path in beside if path.is_dir()), None)


def _is_foreign(name: str) -> bool:
    return name in NOT_DATA or _EXTRA_NAME.fullmatch(name) is not None


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")


def _role(name: str) -> tuple[str, bool] | None:
    """The split that a channel's or a folder's name means, and whether it is of masks."""
    match = _CHANNEL_NAME.fullmatch(name)
    return (_SPLIT_NAMES[match[1].lower()], match[2] is not None) if match else None


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


def _around_splits(folder: Folder, splits: Iterable[str]) -> Folder | None:
    """The folder that holds folders of splits, any of `splits` among them: this one, or the only one in it."""
    for around in (folder, unwrapped(folder)):
        if any(_holds_splits(around, split) for split in splits):
            if others := [inner.name for inner in around.folders if not _role(inner.name) and not _is_extra(inner)]:
                logger.info("folders in %s that are no split are not read: %s", around.path, ", ".join(others))
            return around
    return None


def _holds_splits(folder: Folder, split: str) -> bool:
    """Whether the folders in a folder are splits, `split` among them, and not classes of such names.

    They are where all are splits, or where the split has its masks beside it.
    """
    roles = [_role(inner.name) for inner in folder.folders if not _is_extra(inner)]
    if folder.image_names or (split, False) not in roles:
        return False
    return (len(roles) > 1 and None not in roles) or (split, True) in roles


def _is_extra(folder: Folder) -> bool:
    return _EXTRA_NAME.fullmatch(folder.name) is not None


def _no_training_channel(channels: Mapping[str, Path | Folder]) -> str:
    there = ", ".join(sorted(channels)) or "none"
    return (
        f"the channel 'train' is missing (channels given: {there}). Expected:\n"
        "  train/                the training images, in class folders or with masks\n"
        "  train_annotation/     their masks, unless they lie in train/masks/\n"
        "  validation/           may be absent: a share of the training images validates then\n"
        "  validation_annotation/"
    )


def channels_in(folder: Path) -> dict[str, Path]:
    """The channels that a folder stands for, by name.

    A folder of channels, such as a job's `input/data`, holds nothing but folders of such names, `train` among them.
    Any other folder is the training channel, with the masks beside it where there are any.
    Raises InputError where it is no folder or cannot be listed.
    """
    try:
        inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise InputError(f"{folder} cannot be listed: {error.strerror or error}; name a folder of images") from error
    names = {path.name for path in inside}
    if "train" in names and all(_is_channel(path) for path in inside):
        return {path.name: path for path in inside}
    masks = masks_beside(folder)
    return {"train": folder} | ({"train_annotation": masks.path} if masks else {})


def _is_channel(path: Path) -> bool:
    return path.is_dir() and (is_channel_name(path.name) or path.name in NOT_DATA)
