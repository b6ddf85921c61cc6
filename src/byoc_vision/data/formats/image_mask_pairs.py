"""Segmentation: images, and a mask of the same name for each."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from byoc_vision.data.decoding import IMAGE_SUFFIXES
from byoc_vision.data.formats.base import Inputs, ParsedDataset
from byoc_vision.data.formats.channels import MASK_FOLDER_NAMES, Split
from byoc_vision.data.formats.colour_tables import with_colours
from byoc_vision.data.formats.mask_evidence import ImagesAndMasks, TwoReadingsError, find_pair
from byoc_vision.data.formats.prepared import with_class_names
from byoc_vision.data.formats.scan import Folder
from byoc_vision.data.formats.stems import composed, core, unique_cores
from byoc_vision.data.samples import DataOptions, Sample
from byoc_vision.errors import DataError, few, list_problems
from byoc_vision.types import ClassInfo, Task

logger = logging.getLogger(__name__)

IMAGE_FOLDER_NAMES = ("images", "image", "imgs", "img", "jpegimages", "img_dir")
MASK_SUFFIX = "_mask"  # Carvana's
_SHOWN = 8


class ImagesWithMasks:
    """Images in `SPLIT` and masks in `SPLIT_annotation`, or `SPLIT/images` and `SPLIT/masks`.

    A mask has the relative path of its image without the ending, apart from words such as `_mask` or `img_`. Folders
    with other names are recognised by what they hold.
    """

    name = "pictures_and_masks"
    task: Task = "segmentation"
    title = "images with masks"
    example = (
        "train/images/1.jpg, 2.jpg, …        or  train/1.jpg, 2.jpg, …\n"
        "train/masks/1.png, 2.png, …             train_annotation/1.png, 2.png, …"
    )

    def matches(self, inputs: Inputs) -> bool:
        images = inputs.first.images
        if inputs.first.masks is not None or has_inner_masks(images) or find_pair(images) is not None:
            return True
        parts = find_parts(images)
        is_chosen = inputs.options.task == "segmentation" or inputs.options.layout == self.name
        if parts and not is_chosen:
            raise TwoReadingsError(_two_readings_of_parts(images, parts))
        return bool(parts)

    def read(self, inputs: Inputs, options: DataOptions, classes: Sequence[ClassInfo] = ()) -> ParsedDataset:
        splits = {name: split for name, split in inputs.splits.items() if not _is_test_without_masks(split)}
        folders = {name: _folders_by_name_or_content(split) for name, split in splits.items()}
        warn_about_unread([folder for parts in folders.values() for both in parts for folder in both])
        samples = {
            name: tuple(sample for both in parts for sample in pair(*both, skip=options.skips))
            for name, parts in folders.items()
        }
        found = with_class_names(ParsedDataset(samples), inputs, options)
        return with_colours(
            found, inputs, options, classes, [both.masks for parts in folders.values() for both in parts]
        )


def warn_about_unread(folders: Sequence[Folder]) -> None:
    """Log how many files are not read because of their endings."""
    endings = sum((folder.unread_endings() for folder in folders), Counter())
    if endings:
        counts = ", ".join(f"{count} × {ending}" for ending, count in endings.most_common())
        logger.warning(
            "files that are not read: %d (%s); images are %s. Convert the others, or remove them.%s",
            endings.total(),
            counts,
            ", ".join(sorted(IMAGE_SUFFIXES)),
            unpack_hint(folders),
        )


def unpack_hint(folders: Iterable[Folder]) -> str:
    """What to do with the archives in these folders; empty if there are none."""
    names = [name for folder in folders for name in folder.archives()]
    if not names:
        return ""
    return f" Unpack {few(names, 3)}, or let `byoc-vision prepare auto --source FOLDER --output CHANNELS` do it."


def _is_test_without_masks(split: Split) -> bool:
    """Whether a test split holds nothing but images, or a folder of them, as competitions publish it."""
    parts = len(split.images.image_folders) + bool(split.images.image_names)
    if split.name != "test" or split.masks is not None or parts != 1:
        return False
    logger.warning("%s holds no masks, so the test split is not read", split.images.path)
    return True


def _folders_by_name_or_content(split: Split) -> list[ImagesAndMasks]:
    """The folders of images and masks; several if each folder of the split has its own."""
    if split.masks is None and not has_inner_masks(split.images):
        if found := find_pair(split.images):
            logger.info(
                "%s: images in %s/, masks in %s/, by what they hold", split.name, found.images.name, found.masks.name
            )
            return [found]
        if parts := find_parts(split.images):
            return parts
    both = ImagesAndMasks(*folders_of(split))
    if split.masks is None:
        _warn_about_others(split.images, both)
    return [both]


def _warn_about_others(folder: Folder, both: ImagesAndMasks) -> None:
    """Log the folders beside those of the images and masks, which a person may have meant."""
    if others := [f"{one.name}/" for one in folder.image_folders if one not in both]:
        logger.warning(
            "%s: the masks of %s/ are in %s/; other folders with images are not read: %s",
            folder.path,
            both.images.name,
            both.masks.name,
            ", ".join(others),
        )


def find_parts(folder: Folder) -> list[ImagesAndMasks]:
    """The folders of images and masks in each of the inner folders, such as those of patients; empty if one has none.

    Raises TwoReadingsError if the files of the first one allow two readings.
    """
    for outer in folder.unwrapped():
        inner = outer.image_folders
        if len(inner) < 2 or outer.image_names:
            continue
        first = find_pair(inner[0]) if not has_inner_masks(inner[0]) else ImagesAndMasks(*_inner_folders(inner[0]))
        if first is None:
            continue
        of_name = [{below.name: below for below in one.image_folders} for one in inner]
        if all(first.images.name in one and first.masks.name in one for one in of_name):
            return [ImagesAndMasks(one[first.images.name], one[first.masks.name]) for one in of_name]
    return []


def _two_readings_of_parts(folder: Folder, parts: Sequence[ImagesAndMasks]) -> str:
    shown = few([part.images.path.parent.name for part in parts], 4)
    return (
        f"each folder in {folder.path} holds {parts[0].images.name}/ and {parts[0].masks.name}/, which can be read in "
        f"two ways: as images and masks, or as images of the classes {shown}. For images and masks, set "
        "task=segmentation; for classes, set task=classification, which leaves out the masks"
    )


def _inner_folders(folder: Folder) -> tuple[Folder, Folder]:
    return _named(folder, IMAGE_FOLDER_NAMES)[0], _named(folder, MASK_FOLDER_NAMES)[0]


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
    return [inner for inner in folder.named(*names) if inner.has_images]


def pair(images: Folder, masks: Folder, *, skip: bool = False) -> list[Sample]:
    """Each image with its mask.

    skip: leave out images without a mask, with a warning, if they are fewer than half.
    Raises DataError that names the images without a mask.
    """
    image_of = by_stem(images, "images")
    mask_of = by_stem(masks, "masks")
    is_exact = all(stem in image_of or stem.removesuffix(MASK_SUFFIX) in image_of for stem in mask_of)
    image_of_core = {} if is_exact else unique_cores(image_of)
    if image_of_core and not any("/" in stem for stem in mask_of):  # the images alone may be in folders
        image_of_core = unique_cores(image_of, by_name=True) | image_of_core
    pairs: dict[str, str] = {}
    for stem in mask_of:
        image = _image_for(stem, image_of, image_of_core)
        if image in pairs:
            raise DataError(
                f"{masks.path} has two masks for {image_of[image]}: {mask_of[pairs[image]]} and {mask_of[stem]}; "
                "keep one of them"
            )
        if image is not None:
            pairs[image] = stem
    without_mask = [str(image_of[stem]) for stem in image_of if stem not in pairs]
    used = set(pairs.values())
    without_image = [str(mask_of[stem]) for stem in mask_of if stem not in used]
    leave_out(
        without_mask, len(image_of), _unpaired(images, masks, len(image_of), without_mask, without_image), skip=skip
    )
    if without_image:
        logger.warning(
            "masks in %s without an image, which are not read: %d, such as %s",
            masks.path,
            len(without_image),
            without_image[0],
        )
    return [
        Sample(images.path / image_of[stem], masks.path / mask_of[pairs[stem]]) for stem in image_of if stem in pairs
    ]


def leave_out(images: Sequence[str], total: int, problem: str, *, skip: bool) -> None:
    """Leave out images without a mask, with a warning, if `skip` is set and they are fewer than half of all.

    Otherwise raises DataError with the problem.
    """
    if images and not (skip and 2 * len(images) < total):
        raise DataError(problem)
    if images:
        logger.warning(
            "images without a mask, which are left out (on_bad_sample=skip): %d, such as %s", len(images), images[0]
        )


def _image_for(mask: str, images: Mapping[str, object], image_of_core: Mapping[str, str]) -> str | None:
    """The stem of a mask's image: the same, the same without `_mask`, or the one with the same core."""
    plain = mask.removesuffix(MASK_SUFFIX)
    if mask in images or plain in images:
        return mask if mask in images else plain
    return image_of_core.get(core(mask))


def by_stem(folder: Folder, what: str) -> dict[str, PurePosixPath]:
    """The images of a folder by their relative path without the ending. what: images or masks, for messages.

    Raises DataError if two differ only in the ending, or if there are none.
    """
    found: dict[str, PurePosixPath] = {}
    doubles: list[str] = []
    for path in folder.images():
        stem = composed(str(path.with_suffix("")))
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
        f"its image, or that name and {MASK_SUFFIX!r}, with any ending. on_bad_sample=skip leaves out a "
        "few such images:",
        lines,
    )
