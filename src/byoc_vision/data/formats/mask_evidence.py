"""Finds the folders of images and masks by what they hold, whatever they are called.

Names are compared first; files are opened only in folders whose files pair, and few of them.
"""

from __future__ import annotations

import io
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from byoc_vision.data.decoding import Content, image_size, read_content, read_image
from byoc_vision.data.fileformat import is_lossy
from byoc_vision.data.formats.scan import Folder
from byoc_vision.data.formats.stems import core, names_masks, unique_cores
from byoc_vision.data.mask_colours import colour_codes
from byoc_vision.errors import DataError, InputError

LEAST_PAIRED = 0.8  # of the smaller folder's files
_MOST_FOLDERS = 6
_COMPARED = 100  # names
_SAMPLED = 5
_MOST_TRIED = 200
_MOST_VALUES = 64
_SIDE = 256  # pixels of a sampled image that are compared, picked from a grid
_NEAR = 24  # of 256 levels: JPEG artefacts stay this close to the value that was saved
_MOST_FAR = 0.1


class Looks(IntEnum):
    """How much an image looks like a mask."""

    IMAGE = 0
    FEW_COLOURS = 1  # a mask in colours, or a drawing
    MASK = 2  # grey or a palette, with few values or near two


class TwoReadingsError(InputError):
    """The files can be read as images with masks, or as classes."""


class ImagesAndMasks(NamedTuple):
    """The two folders."""

    images: Folder
    masks: Folder


def find_pair(folder: Folder) -> ImagesAndMasks | None:
    """The folders of images and masks in a folder, or in a single one in it; None if there are none.

    Raises TwoReadingsError if the files allow two readings.
    """
    return next(filter(None, map(_pair_in, folder.unwrapped())), None)


def _pair_in(folder: Folder) -> ImagesAndMasks | None:
    inner = folder.image_folders
    if not 2 <= len(inner) <= _MOST_FOLDERS or folder.image_names:
        return None
    files = {one.path: list(one.image_paths()) for one in inner}
    stems = {path: [name.rpartition(".")[0] for name in names] for path, names in files.items()}
    pairs = [
        (one, other)
        for one, other in itertools.combinations(inner, 2)
        if _are_paired(*sorted((stems[one.path], stems[other.path]), key=len))
    ]
    paired = {folder.path: folder for pair in pairs for folder in pair}
    looks = {path: _folder_looks(folder, files[path]) for path, folder in paired.items()}
    found = [read for one, other in pairs if (read := _decide(one, other, looks, alone=len(inner) == 2))]
    if len(inner) > 2:
        by_name = [pair for pair in found if names_masks(pair.masks.name)]
        if found and len(by_name) != 1:
            raise TwoReadingsError(_two_readings(folder, [one.name for one in inner], found[0]))
        return by_name[0] if by_name else None
    return found[0] if found else None


def _are_paired(fewer: Sequence[str], more: Sequence[str]) -> bool:
    """Whether most of some names have their like in the larger folder: the same, or the same core."""
    some = fewer[:: max(1, len(fewer) // _COMPARED)]
    known = set(more)
    if sum(name in known for name in some) >= LEAST_PAIRED * len(some):
        return True
    if len(more) > _COMPARED * _COMPARED and not any(core(name) != name for name in (*some, *more[:_COMPARED])):
        return False
    cores = unique_cores(more)
    if sum(core(name) in cores for name in some) >= LEAST_PAIRED * len(some):
        return True
    if all(any("/" in name for name in names) for names in (fewer, more)):
        return False
    cores = unique_cores(more, by_name=True)  # only the files of one are in folders
    return sum(core(name.rpartition("/")[2]) in cores for name in some) >= LEAST_PAIRED * len(some)


def _decide(one: Folder, other: Folder, looks: Mapping[Path, Looks], *, alone: bool) -> ImagesAndMasks | None:
    """Which of two folders with the same names holds masks; None if neither does."""
    first, second = looks[one.path], looks[other.path]
    if max(first, second) == Looks.IMAGE:
        return None
    if first != second:
        images, masks = (one, other) if first < second else (other, one)
        if max(first, second) == Looks.MASK or names_masks(masks.name) or _share_colours(images, masks):
            return ImagesAndMasks(images, masks)
        if alone:
            raise TwoReadingsError(_two_readings_of_pair(images, masks))
        return None
    if names_masks(one.name) != names_masks(other.name):
        return ImagesAndMasks(other, one) if names_masks(one.name) else ImagesAndMasks(one, other)
    if first == Looks.MASK and alone:
        raise TwoReadingsError(_two_readings_of_pair(one, other))
    return None


def _share_colours(images: Folder, masks: Folder) -> bool:
    """Whether a few masks in colours have few of them together, recurring ones, and the sizes of their images."""
    image_of = {core(name.rpartition(".")[0]): name for name in images.image_paths()}
    names = [name for name in masks.image_paths() if core(name.rpartition(".")[0]) in image_of]
    seen: list[set[int]] = []
    for name in names[:: max(1, len(names) // _SAMPLED)][:_SAMPLED]:
        try:
            mask = read_image(read_content(masks.path / name))
            size = image_size(images.path / image_of[core(name.rpartition(".")[0])])
        except DataError:
            continue
        if mask.shape[:2] != size:
            return False
        seen.append(set(np.unique(colour_codes(mask)).tolist()))
    together = Counter(colour for colours in seen for colour in colours)
    few = len(together) <= _MOST_VALUES
    return len(seen) > 1 and few and all(any(together[colour] > 1 for colour in colours) for colours in seen)


def _folder_looks(folder: Folder, images: Sequence[str]) -> Looks:
    """What most of a few files look like. A file that cannot be read does not count."""
    step = max(1, len(images) // _SAMPLED)
    spread = dict.fromkeys((*images[::step], *images[:_MOST_TRIED]))
    here = itertools.islice(
        (path for path in spread if (folder.path / path).exists()), _SAMPLED
    )  # the rest: other hosts
    looks = [seen for path in here if (seen := _looks(folder.path / path)) is not None]
    least = sorted(looks)[len(looks) // 4 : len(looks) // 4 + 1]  # all but one of five agree
    return least[0] if least else Looks.IMAGE


def _looks(path: Path) -> Looks | None:
    """None for a file without a say: unreadable, or of one colour."""
    try:
        content = read_content(path)
        pixels = _probe(content)
    except DataError:
        return None
    if (pixels == pixels[:1]).all():
        return None
    grey = bool((pixels == pixels[:, :1]).all())
    distinct = len(np.unique(pixels @ np.array([1, 256, 65536])))
    if not is_lossy(content.data) and distinct <= _MOST_VALUES:
        return Looks.MASK if grey or _has_palette(content) else Looks.FEW_COLOURS
    return Looks.MASK if grey and is_near_two_values(np.bincount(pixels[:, 0], minlength=256)) else Looks.IMAGE


def _probe(content: Content) -> np.ndarray:
    """Pixels of the image, int64 [N, 3]."""
    image = read_image(content)
    height, width = (min(side, _SIDE) for side in image.shape[:2])
    picked = cv2.resize(image, (width, height), interpolation=cv2.INTER_NEAREST)
    return picked.reshape(-1, 3).astype(np.int64)


def _has_palette(content: Content) -> bool:
    return Image.open(io.BytesIO(content.data)).mode in ("P", "PA")


def looks_like_masks(folder: Folder) -> bool:
    """Whether most of a few files in a folder are grey or have a palette, with few values or near two."""
    return _folder_looks(folder, list(folder.image_paths())) == Looks.MASK


def is_near_two_values(histogram: np.ndarray) -> bool:
    """Whether nearly all pixels have one of two values far apart, or a value near these. histogram: int64 [256]."""
    first = int(histogram.argmax())
    rest = histogram.copy()
    rest[max(0, first - 2 * _NEAR) : first + 2 * _NEAR + 1] = 0
    second = int(rest.argmax())
    near = sum(int(histogram[max(0, one - _NEAR) : one + _NEAR + 1].sum()) for one in (first, second))
    return bool(rest[second] > 0 and near >= (1 - _MOST_FAR) * int(histogram.sum()))


def _two_readings_of_pair(images: Folder, masks: Folder) -> str:
    return (
        f"{images.path} and {masks.path} hold files of the same names, which can be read in two ways: as images and "
        f"their masks, or as the classes {images.name!r} and {masks.name!r}. For images and masks, call the folders "
        "images/ and masks/; for classes, set data_layout=class_folders"
    )


def _two_readings(folder: Folder, names: list[str], pair: ImagesAndMasks) -> str:
    return (
        f"{folder.path} can be read in two ways: as images in {pair.images.name}/ with masks in {pair.masks.name}/, or "
        f"as the classes {', '.join(names)}. For images and masks, move the other folders away and call the two "
        "images/ and masks/; for classes, set data_layout=class_folders"
    )
