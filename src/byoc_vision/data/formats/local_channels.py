"""A folder on a laptop, read as a job would read it from its channels."""

from __future__ import annotations

from pathlib import Path

from byoc_vision.data.formats.channels import NOT_DATA, is_channel_name, masks_beside
from byoc_vision.errors import InputError


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
