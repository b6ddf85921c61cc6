"""Segmentation: a mask file for each class that an image shows."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from byoc_vision.data.formats.base import Inputs, ParsedDataset
from byoc_vision.data.formats.channels import MASK_FOLDER_NAMES, Split, split_named
from byoc_vision.data.formats.drawn import BACKGROUND
from byoc_vision.data.formats.image_mask_pairs import IMAGE_FOLDER_NAMES, leave_out
from byoc_vision.data.formats.scan import Folder
from byoc_vision.data.formats.stems import composed, names_masks
from byoc_vision.data.mask_colours import MOST_COLOURS
from byoc_vision.data.samples import DataOptions, Sample
from byoc_vision.errors import InputError, list_problems
from byoc_vision.preprocess import IGNORED
from byoc_vision.types import ClassInfo, Task

_LEAST_PAIRED = 0.8  # of the masks
_MOST_CLASSES = 50  # that are believed to be words in file names
_CUT = re.compile(r"[_\-. ]+")


class ClassMask(NamedTuple):
    """A mask of one class of an image, both given by their stems."""

    image: str
    class_name: str
    path: Path


class ClassMasks:
    """`masks/car/1.png` or `masks/1_car.png` for `images/1.jpg`; what is not black is the class.

    Later classes, by name, lie over earlier ones; what no mask marks is the class `background`.
    """

    name = "class_masks"
    task: Task = "segmentation"
    title = "a mask for each class of an image"
    example = (
        "train/images/1.jpg, 2.jpg, …             or  train/images/1.jpg, …\n"
        "train/masks/car/1.png, tree/1.png, …         train/masks/1_car.png, 1_tree.png, …"
    )

    def matches(self, inputs: Inputs) -> bool:
        return bool(_class_masks(inputs.first))

    def read(self, inputs: Inputs, options: DataOptions, classes: Sequence[ClassInfo] = ()) -> ParsedDataset:
        found = {name: _class_masks(split) for name, split in inputs.splits.items()}
        images = {name: _image_of_stem(_images(split)) for name, split in inputs.splits.items()}
        return merged_masks(images, found, options, classes)


def merged_masks(
    images: Mapping[str, Mapping[str, Path]],
    masks: Mapping[str, Sequence[ClassMask]],
    options: DataOptions,
    classes: Sequence[ClassInfo] = (),
) -> ParsedDataset:
    """The samples of images with a mask for each class. images: split → stem → image.

    Raises:
        DataError: names the images without a mask.
        InputError: there are more classes than an 8-bit mask has values.
    """
    names = sorted({one.class_name for held in masks.values() for one in held} - {BACKGROUND})
    if len(names) >= MOST_COLOURS:
        raise InputError(f"the masks name {len(names)} classes; 8-bit masks can have {MOST_COLOURS - 1}")
    named = tuple(classes) or tuple(ClassInfo(name, value) for value, name in enumerate([BACKGROUND, *names]))
    label_of = {entry.name: index if entry.value is None else entry.value for index, entry in enumerate(named)}
    background = label_of.get(BACKGROUND, 0)
    samples: dict[str, tuple[Sample, ...]] = {}
    for split, held in masks.items():
        of_image: dict[str, list[ClassMask]] = defaultdict(list)
        for one in sorted(held, key=lambda one: one.class_name):
            of_image[one.image].append(one)
        missing = [str(image) for stem, image in images[split].items() if stem not in of_image]
        headline = "images without a mask of any class; add an empty one, or use on_bad_sample=skip:"
        leave_out(missing, len(images[split]), list_problems(headline, missing), skip=options.skips)
        samples[split] = tuple(
            Sample(
                image,
                of_image[stem][0].path,
                further_masks=tuple(one.path for one in of_image[stem][1:]),
                mask_labels=(background, *(label_of.get(one.class_name, IGNORED) for one in of_image[stem])),
            )
            for stem, image in images[split].items()
            if stem in of_image
        )
    return ParsedDataset(samples, named, IGNORED)


def _class_masks(split: Split) -> list[ClassMask]:
    """The masks, if most of them belong to an image and a class; otherwise nothing."""
    images, masks = _images(split), _masks(split)
    if images is None or masks is None:
        return []
    stems = set(map(composed, images.image_stems()))
    found = list(_of_folders(masks, stems) if not masks.image_names else _of_names(masks, stems))
    total = sum(1 for _ in masks.image_stems())
    classes = {one.class_name for one in found}
    are_words = len(classes) <= _MOST_CLASSES and len(found) > len({one.image for one in found})
    return found if classes and are_words and len(found) >= _LEAST_PAIRED * total else []


def _images(split: Split) -> Folder | None:
    return split.images if split.masks else _only(split.images, IMAGE_FOLDER_NAMES)


def _masks(split: Split) -> Folder | None:
    return split.masks or _only(split.images, MASK_FOLDER_NAMES)


def _only(folder: Folder, names: Sequence[str]) -> Folder | None:
    found = [inner for inner in folder.named(*names) if inner.has_images]
    return found[0] if len(found) == 1 else None


def _image_of_stem(folder: Folder | None) -> dict[str, Path]:
    return {composed(path.stem): folder.path / path for path in folder.images()} if folder else {}


def _of_folders(masks: Folder, stems: set[str]) -> Iterator[ClassMask]:
    for inner in masks.folders:
        if split_named(inner.name) is None:
            for name in inner.image_names:
                stem = composed(name.rpartition(".")[0])
                if stem in stems:
                    yield ClassMask(stem, inner.name, inner.path / name)


def _of_names(masks: Folder, stems: set[str]) -> Iterator[ClassMask]:
    """A mask's name begins with that of its image; the rest is the class, or the number of an object."""
    for name in masks.image_names:
        stem = composed(name.rpartition(".")[0])
        cuts = [cut for cut in _CUT.finditer(stem) if stem[: cut.start()] in stems]
        if stem in stems or not cuts or names_masks(stem[cuts[-1].end() :]):
            continue
        word = stem[cuts[-1].end() :]
        yield ClassMask(stem[: cuts[-1].start()], "foreground" if word.isdecimal() else word, masks.path / name)
