"""Images with shapes in annotation files: the labels of their classes, and masks that are drawn when they are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from byoc_vision.data.bands import size_of
from byoc_vision.data.formats.base import Inputs, ParsedDataset
from byoc_vision.data.formats.channels import split_named
from byoc_vision.data.formats.image_mask_pairs import has_inner_masks
from byoc_vision.data.formats.lists import check_repeated, report_problems, split_of_file
from byoc_vision.data.formats.scan import Folder
from byoc_vision.data.mask_colours import MOST_COLOURS
from byoc_vision.data.samples import DataOptions, DrawnMask, Sample
from byoc_vision.data.shapes import draw_mask
from byoc_vision.errors import DataError, InputError, list_problems
from byoc_vision.preprocess import IGNORED
from byoc_vision.types import ClassInfo

BACKGROUND = "background"
_BACKGROUND_NAMES = frozenset({BACKGROUND, "_background_", "__background__"})
_IGNORED_NAMES = frozenset({"__ignore__", "ignore", "void"})
_MOST_DRAWN = 2000  # images, if there are other problems: a few seconds
_MOST_FILES = 20  # for many images each; more are one for each image

BOXES_ALONE = (
    "holds bounding boxes alone, which do not say which pixels are in a class. For segmentation label polygons, "
    "brushes or run lengths; tools such as CVAT, Label Studio and Roboflow turn boxes into polygons with "
    "Segment Anything"
)


class Shapes(NamedTuple):
    """An image and its shapes.

    file: of the annotations. entry: of this image in it, for messages. names: the class of each shape.
    outlines, ranges, size, is_relative: as in `DrawnMask`. group: as in `Sample`.
    """

    image: Path
    file: Path
    entry: str
    names: tuple[str, ...]
    outlines: tuple[bytes, ...] = ()
    ranges: bytes = b""
    size: tuple[int, int] | None = None
    is_relative: bool = False
    group: str | None = None

    @property
    def where(self) -> str:
        """Its place in messages."""
        return f"{self.file}, {self.entry}"


def has_mask_files(inputs: Inputs) -> bool:
    """Whether there are mask files, which are read rather than shapes beside them."""
    masks = inputs.first.masks  # a channel `train_annotation` may hold a JSON file alone
    return (masks is not None and masks.has_images) or has_inner_masks(inputs.first.images)


def drawn_dataset(
    listed: Mapping[str, Sequence[Shapes]],
    names: Iterable[str],
    options: DataOptions,
    classes: Sequence[ClassInfo] = (),
    numbers: Mapping[str, int] | None = None,
) -> ParsedDataset:
    """The samples of images with shapes; what no shape covers is the class `background`.

    Args:
        names: the classes in the order of their labels, without the background.
        classes: of a model that is evaluated: shapes of other classes are ignored.
        numbers: the labels of the classes; by default they count from 1.

    Raises:
        DataError: no image has a shape, or an image is listed twice.
        InputError: there are more classes than an 8-bit mask has values.
    """
    if not any(one.names for shapes in listed.values() for one in shapes):
        where = next((str(one.file) for shapes in listed.values() for one in shapes), "the annotation file")
        raise DataError(f"{where} holds no shapes; annotate the images, and export polygons or run lengths")
    check_repeated([one for shapes in listed.values() for one in shapes])
    named = list(dict.fromkeys(name for name in names if not _is_special(name)))
    if len(named) >= MOST_COLOURS:
        raise InputError(f"the annotations name {len(named)} classes; 8-bit masks can have {MOST_COLOURS - 1}")
    own = [ClassInfo(BACKGROUND, 0)]
    own += [ClassInfo(name, (numbers or {}).get(name, place)) for place, name in enumerate(named, start=1)]
    label_of = {entry.name: label for label, entry in _labels(classes or own)}
    background = label_of.get(BACKGROUND, 0)
    samples = {
        split: tuple(Sample(one.image, _mask(one, label_of, background), group=one.group) for one in shapes)
        for split, shapes in listed.items()
        if shapes or split == "train"
    }
    return ParsedDataset(samples, tuple(classes) or tuple(own), IGNORED)


def report_entries(
    headline: str,
    problems: Sequence[str],
    listed: Mapping[str, Sequence[Shapes]],
    options: DataOptions,
    broken: Sequence[str] = (),
) -> None:
    """Raises DataError that names all problems at once, with those of the shapes, or only warns as `report_problems`.

    broken: files that cannot be read at all, which are never left out.
    """
    found = [*broken, *problems]
    if found and (broken or options.on_bad_sample == "fail"):
        raise DataError(list_problems(headline, [*found, *_undrawable(listed)]))
    report_problems(headline, found, options)


def _undrawable(listed: Mapping[str, Sequence[Shapes]]) -> Iterator[str]:
    """What is wrong with the shapes of the first images, which otherwise the check before training says."""
    here = (one for shapes in listed.values() for one in shapes if one.image.exists())  # the others: on other hosts
    for one in islice(here, _MOST_DRAWN):
        mask = _mask(one, {}, 0)
        try:
            draw_mask(mask, mask.size or size_of(one.image))
        except DataError as error:
            yield str(error)


def labels_for(names: Iterable[str], used: Iterable[str]) -> list[str]:
    """The classes in the order of a tool's list; without one the used ones, by name."""
    return list(dict.fromkeys(names)) or sorted(set(used))


def unlisted(names: Iterable[str], listed: Sequence[str]) -> list[str]:
    """Which names of classes a tool's list lacks, if there is one."""
    return [name for name in dict.fromkeys(names) if name not in listed and not _is_special(name)] if listed else []


def _is_special(name: str) -> bool:
    return name.casefold() in _BACKGROUND_NAMES | _IGNORED_NAMES


def _labels(classes: Sequence[ClassInfo]) -> list[tuple[int, ClassInfo]]:
    return [(index if entry.value is None else entry.value, entry) for index, entry in enumerate(classes)]


def _mask(shapes: Shapes, label_of: Mapping[str, int], background: int) -> DrawnMask:
    values = bytes(
        background if name.casefold() in _BACKGROUND_NAMES else label_of.get(name, IGNORED) for name in shapes.names
    )
    return DrawnMask(
        shapes.file,
        shapes.entry,
        values,
        shapes.outlines,
        shapes.ranges,
        shapes.size,
        shapes.is_relative,
        background,
    )


def annotation_files(inputs: Inputs, ending: str) -> list[tuple[Path, str, tuple[Folder, ...]]]:
    """The files of annotations for many images: path, split, and the folders that hold the images.

    They lie beside the images, above them, or in folders such as `annotations`. Folders with many such files hold one
    for each image, which is another format.
    """
    found: list[tuple[Path, str, tuple[Folder, ...]]] = []
    alone = len(inputs.splits) == 1
    for split, entry in inputs.splits.items():
        folders = tuple(folder for folder in (entry.images, entry.masks) if folder is not None)
        for folder, name in _named_so(folders, ending):
            own = (split_of_file(name) or split_named(folder.name)) if alone and split == "train" else None
            images = _of_split(entry.images, own) if own else (entry.images,)
            found.append((folder.path / name, own or split, images))
    above = inputs.first.parent
    for folder, name in _named_so((above,), ending, depth=0) if above is not None else ():
        of_file = split_of_file(name)
        if of_file is not None and of_file in inputs.splits:
            found.append((folder.path / name, of_file, (inputs.splits[of_file].images,)))
    return found


def _named_so(folders: Iterable[Folder], ending: str, depth: int = 3) -> Iterator[tuple[Folder, str]]:
    for folder in folders:
        names = [name for name in folder.files if name.lower().endswith(ending)]
        yield from ((folder, name) for name in names if len(names) <= _MOST_FILES)
        if depth:
            yield from _named_so(folder.folders, ending, depth - 1)


def _of_split(folder: Folder, split: str) -> tuple[Folder, ...]:
    """The folders of a split below a folder, if there are any; otherwise the folder itself."""
    for outer in (folder, *folder.folders):
        inner = tuple(one for one in outer.image_folders if split_named(one.name) == split)
        if inner:
            return inner
    return (folder,)
