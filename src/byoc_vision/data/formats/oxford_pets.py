"""The Oxford-IIIT Pet archives, for segmentation of the pet and for classification of its breed.

Parkhi, Vedaldi, Zisserman, Jawahar: Cats and dogs (2012); https://www.robots.ox.ac.uk/~vgg/data/pets/
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from byoc_vision.data.formats.base import Inputs, ParsedDataset
from byoc_vision.data.formats.channels import Split
from byoc_vision.data.formats.image_mask_pairs import by_stem
from byoc_vision.data.formats.label_parsing import without_small_classes
from byoc_vision.data.formats.lists import read_lines
from byoc_vision.data.formats.scan import Folder, natural_key
from byoc_vision.data.samples import DataOptions, MaskMap, Sample
from byoc_vision.errors import DataError, InputError, list_problems
from byoc_vision.preprocess import IGNORED
from byoc_vision.types import ClassInfo, Task

logger = logging.getLogger(__name__)

VALIDATION_SPLIT = 0.25
_PET, _BACKGROUND, _BORDER = 1, 2, 3  # what trimaps store
_BORDER_CLASS = 2

_EXAMPLE = (
    "train/images/Abyssinian_1.jpg, …\n"
    "train/annotations/trimaps/Abyssinian_1.png, …\n"
    "train/annotations/list.txt, trainval.txt, test.txt"
)
_NAME = re.compile(r"(.+)_[0-9]+")
_COLUMNS = "Image CLASS-ID SPECIES BREED-ID"


class Archive(NamedTuple):
    """images: the images. annotations: the lists. trimaps: not needed for breeds."""

    images: Folder
    annotations: Folder
    trimaps: Folder | None


class Entry(NamedTuple):
    """An image to use. place: the file and line that list it, or its folder."""

    stem: str
    place: str

    @property
    def breed(self) -> str:
        """`yorkshire_terrier_12` is a `yorkshire terrier`; a name without a number is its own breed."""
        match = _NAME.fullmatch(self.stem)
        return (match[1] if match else self.stem).replace("_", " ")


class OxfordPetsSegmentation:
    """Pet and background; the border is ignored, or a class of its own (`trimap_border`)."""

    name = "oxford_pets"
    task: Task = "segmentation"
    title = "the Oxford pets with trimaps"
    example = _EXAMPLE

    def matches(self, inputs: Inputs) -> bool:
        archive = _archive(inputs.first)
        return archive is not None and archive.trimaps is not None

    def read(self, inputs: Inputs, options: DataOptions, classes: Sequence[ClassInfo] = ()) -> ParsedDataset:
        border_is_class = options.trimap_border == "class" or any(entry.value == _BORDER_CLASS for entry in classes)
        named = [ClassInfo("background", 0), ClassInfo("pet", 1)]
        named += [ClassInfo("border", _BORDER_CLASS)] if border_is_class else []
        _check_ignore_index(options, border_is_class)
        mask_map = MaskMap(
            "a trimap (1 pet, 2 background, 3 border)",
            ((_PET, 1), (_BACKGROUND, 0), (_BORDER, _BORDER_CLASS if border_is_class else IGNORED)),
        )
        samples = {
            split: _with_trimaps(archive, entries, mask_map) for split, (archive, entries) in _read(inputs).items()
        }
        return ParsedDataset(
            samples, tuple(named), None if border_is_class else IGNORED, validation_split=VALIDATION_SPLIT
        )


class OxfordPetsBreeds:
    """The breed is the name of the file: `yorkshire_terrier_12.jpg`."""

    name = "oxford_pets"
    task: Task = "classification"
    title = "the breeds of the Oxford pets"
    example = _EXAMPLE

    def matches(self, inputs: Inputs) -> bool:
        return _archive(inputs.first) is not None

    def read(self, inputs: Inputs, options: DataOptions, classes: Sequence[ClassInfo] = ()) -> ParsedDataset:
        found = _read(inputs)
        breeds = [entry.name for entry in classes] or _breeds(next(iter(found.values()))[1])
        label_of = {breed: label for label, breed in enumerate(breeds)}
        samples: dict[str, list[Sample]] = {}
        unknown: list[str] = []
        for split, (archive, entries) in found.items():
            images = by_stem(archive.images, "images")
            unknown += [f"{entry.place}: {entry.breed}" for entry in entries if entry.breed not in label_of]
            samples[split] = [
                Sample(archive.images.path / images[entry.stem], label=label_of[entry.breed])
                for entry in entries
                if entry.breed in label_of
            ]
        if unknown:
            raise DataError(
                list_problems(
                    "breeds without training images; add training images of them, or remove them from the list:",
                    unknown,
                )
            )
        if classes:
            return ParsedDataset({split: tuple(held) for split, held in samples.items()}, tuple(classes))
        kept, named = without_small_classes(samples, breeds, options.min_class_count)
        return ParsedDataset(kept, named, validation_split=VALIDATION_SPLIT)


def _with_trimaps(archive: Archive, entries: Sequence[Entry], mask_map: MaskMap) -> tuple[Sample, ...]:
    if archive.trimaps is None:
        raise DataError(f"{archive.annotations.path} has no trimaps/ with the masks; unpack all of annotations.tar.gz")
    images, trimaps = by_stem(archive.images, "images"), by_stem(archive.trimaps, "masks")
    if lacking := [f"{entry.place}: {entry.stem} has no trimap" for entry in entries if entry.stem not in trimaps]:
        raise DataError(
            list_problems(
                f"pets without a trimap in {archive.trimaps.path}; add trimaps, or remove the pets from the list:",
                lacking,
            )
        )
    return tuple(
        Sample(
            archive.images.path / images[entry.stem],
            archive.trimaps.path / trimaps[entry.stem],
            stratum=entry.breed,
            mask_map=mask_map,
        )
        for entry in entries
    )


def _archive(split: Split) -> Archive | None:
    """images/ and annotations/ in a folder, one level deeper, or in two channels."""
    if split.masks is not None:
        images = _inner(split.images, "images") or split.images
        return _as_archive(images, _inner(split.masks, "annotations") or split.masks)
    for folder in split.images.unwrapped():
        inner, annotations = _inner(folder, "images"), _inner(folder, "annotations")
        if inner and annotations:
            return _as_archive(inner, annotations)
    return None


def _as_archive(images: Folder, annotations: Folder) -> Archive | None:
    trimaps = _inner(annotations, "trimaps")
    is_listed = "list.txt" in annotations.files or "trainval.txt" in annotations.files
    if not images.image_names or annotations.image_names or not (trimaps or is_listed):
        return None
    return Archive(images, annotations, trimaps if trimaps and trimaps.image_names else None)


def _inner(folder: Folder, name: str) -> Folder | None:
    return next(iter(folder.named(name)), None)


def _read(inputs: Inputs) -> dict[str, tuple[Archive, list[Entry]]]:
    """The images to use, by split. The lists of the first channel may define the test split."""
    found: dict[str, tuple[Archive, list[Entry]]] = {}
    for name, split in inputs.splits.items():
        archive = _archive(split)
        if archive is None:
            raise DataError(f"{split.images.path} holds no Oxford pets. Expected:\n{_EXAMPLE}")
        lists = _lists(archive)
        if split is not inputs.first:
            lists = {name: [entry for entries in lists.values() for entry in entries]}
        elif name != "train":  # a single folder to evaluate
            lists = {"test": lists["test"]} if "test" in lists else {name: lists["train"]}
        _check_images(archive, lists)
        found |= {part: (archive, entries) for part, entries in lists.items()}
    return found


def _lists(archive: Archive) -> dict[str, list[Entry]]:
    """The entries of `trainval.txt` and `test.txt`, otherwise of `list.txt`, otherwise all images."""
    files = archive.annotations.files
    if "trainval.txt" in files:
        names = {"train": "trainval.txt"} | ({"test": "test.txt"} if "test.txt" in files else {})
        return {split: _entries(archive.annotations, name) for split, name in names.items()}
    if "list.txt" in files:
        return {"train": _entries(archive.annotations, "list.txt")}
    return {"train": [Entry(stem, str(archive.images.path)) for stem in by_stem(archive.images, "images")]}


def _entries(annotations: Folder, name: str) -> list[Entry]:
    entries: list[Entry] = []
    problems: list[str] = []
    for place, text in read_lines(annotations.path / name):
        columns = text.split()
        if len(columns) == 4 and all(column.isdecimal() for column in columns[1:]):
            entries.append(Entry(columns[0], place))
        else:
            problems.append(f"{place}: expected '{_COLUMNS}', such as 'Abyssinian_1 1 1 1'; found {text[:80]!r}")
    if problems:
        raise DataError(list_problems("a list of the Oxford pets has lines unlike the original:", problems))
    if not entries:
        raise DataError(f"{annotations.path / name} lists no images; remove it, or restore the original")
    return entries


def _check_images(archive: Archive, lists: Mapping[str, Sequence[Entry]]) -> None:
    """Check that each listed image exists and is listed once; log how many images are not listed."""
    images = by_stem(archive.images, "images")
    place_of: dict[str, str] = {}
    problems: list[str] = []
    for entry in (entry for entries in lists.values() for entry in entries):
        if entry.stem not in images:
            problems.append(f"{entry.place}: there is no {entry.stem}.jpg in {archive.images.path}")
        if entry.stem in place_of:
            problems.append(f"{entry.place}: {entry.stem} is already in {place_of[entry.stem]}; keep one of them")
        place_of.setdefault(entry.stem, entry.place)
    if problems:
        raise DataError(list_problems("the lists of the Oxford pets do not match the images:", problems))
    if unlisted := len(images.keys() - place_of.keys()):
        logger.info("images in %s that are not in a list, and are not read: %d", archive.images.path, unlisted)


def _breeds(entries: Iterable[Entry]) -> list[str]:
    """In the order of the original class ids: by name, ignoring case."""
    return sorted({entry.breed for entry in entries}, key=natural_key)


def _check_ignore_index(options: DataOptions, border_is_class: bool) -> None:
    if options.ignore_index not in (None, IGNORED) and (border_is_class or options.ignore_index != _BORDER):
        raise InputError(
            f"ignore_index is {options.ignore_index}, but in the Oxford pets' trimaps only the border (3) can be "
            "ignored: leave ignore_index out and set trimap_border=ignore"
        )
