"""Segmentation: ADE20K, in the form of the Scene Parsing Benchmark (ADEChallengeData2016).

https://github.com/CSAILVision/sceneparsing: 150 classes, 1–150; 0 is everything else and does not count.
"""

from __future__ import annotations

from collections.abc import Sequence

from byoc_vision.data.formats.base import Inputs, ParsedDataset
from byoc_vision.data.formats.image_mask_pairs import folders_of, has_inner_masks, pair
from byoc_vision.data.formats.lists import read_lines
from byoc_vision.data.samples import DataOptions
from byoc_vision.types import ClassInfo, Task

_OTHERS = 0
_CLASSES = 150
_NAMES = "objectInfo150.txt"
_IMAGE = "ADE_"


class Ade20k:
    """`images/training/ADE_train_*.jpg` and `annotations/training/*.png`; `objectInfo150.txt` names the classes."""

    name = "ade20k"
    task: Task = "segmentation"
    title = "ADE20K"
    example = (
        "train/images/training/ADE_train_00000001.jpg, …       validation/ likewise\n"
        "train/annotations/training/ADE_train_00000001.png, …  train/objectInfo150.txt (optional)"
    )

    def matches(self, inputs: Inputs) -> bool:
        images = inputs.first.images
        return has_inner_masks(images) and next(images.image_stems(), "").startswith(_IMAGE)

    def read(self, inputs: Inputs, options: DataOptions, classes: Sequence[ClassInfo] = ()) -> ParsedDataset:
        samples = {name: tuple(pair(*folders_of(split), skip=options.skips)) for name, split in inputs.splits.items()}
        return ParsedDataset(samples, _classes(inputs), _OTHERS)


def _classes(inputs: Inputs) -> tuple[ClassInfo, ...]:
    """By the list if there is one: Idx, Ratio, Train, Val, Stuff and Name, with tabs."""
    path = next((folder.path / _NAMES for folder in inputs.first_and_above if _NAMES in folder.files), None)
    names = {number: f"class_{number}" for number in range(1, _CLASSES + 1)}
    for _, text in read_lines(path) if path else ():
        number, *_, name = text.split("\t")
        if number.strip().isdecimal() and int(number) in names:
            names[int(number)] = name.split(",")[0].strip()
    doubled = [name for name in names.values() if list(names.values()).count(name) > 1]
    return tuple(ClassInfo(f"{name} {n}" if name in doubled else name, n) for n, name in names.items())
