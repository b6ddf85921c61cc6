"""Segmentation: images and masks in one folder, as Roboflow's "Semantic Segmentation Masks"."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from byoc_vision.data.formats.base import Inputs, ParsedDataset
from byoc_vision.data.formats.colour_tables import with_colours
from byoc_vision.data.formats.image_mask_pairs import pair
from byoc_vision.data.formats.mask_evidence import LEAST_PAIRED, looks_like_masks
from byoc_vision.data.formats.scan import Folder
from byoc_vision.data.formats.stems import core
from byoc_vision.data.samples import DataOptions
from byoc_vision.types import ClassInfo, Task

_MASK_NAME = re.compile(
    r"[_\-. ](masks?|segmentation|seg|labels?|label_?ids|gt|ground_?truth|anno|annotations?)$", re.IGNORECASE
)


class MasksBesideImages:
    """`1.jpg` and `1_mask.png` in one folder; Roboflow's `_classes.csv` names the values of the masks.

    Other words such as `_segmentation` or `_label` do, too; `1.jpg` and `1.png` if the files of one ending look like
    masks.
    """

    name = "masks_beside_images"
    task: Task = "segmentation"
    title = "images with masks in the same folder"
    example = "train/1.jpg, 1_mask.png, 2.jpg, 2_mask.png, …\ntrain/_classes.csv      (optional) Pixel Value, Class"

    def matches(self, inputs: Inputs) -> bool:
        images, masks = _parts(inputs.first.images)
        if inputs.first.masks is not None or not masks.files:
            return False
        stems = {core(name.rpartition(".")[0]) for name in images.files}
        paired = sum(core(name.rpartition(".")[0]) in stems for name in masks.files)
        return paired >= LEAST_PAIRED * len(masks.files)

    def read(self, inputs: Inputs, options: DataOptions, classes: Sequence[ClassInfo] = ()) -> ParsedDataset:
        samples = {
            name: tuple(pair(*_parts(split.images), skip=options.skips)) for name, split in inputs.splits.items()
        }
        return with_colours(ParsedDataset(samples), inputs, options, classes)


def _parts(folder: Folder) -> tuple[Folder, Folder]:
    """The folder as if it held the images alone, and the masks alone; the masks are empty if there are none."""
    inner = folder.unwrapped()[-1]
    names = inner.image_names
    masks = [name for name in names if _MASK_NAME.search(name.rpartition(".")[0])] or _masks_by_ending(inner)
    images = tuple(sorted(set(names) - set(masks), key=names.index))
    return Folder(inner.path, images, ()), Folder(inner.path, tuple(masks), ())


def _masks_by_ending(folder: Folder) -> list[str]:
    """The files of one of two endings, if each image has both, and those of one ending look like masks."""
    of_ending: dict[str, dict[str, str]] = defaultdict(dict)
    for name in folder.image_names:
        stem, _, ending = name.rpartition(".")
        of_ending[ending.lower()][stem] = name
    if len(of_ending) != 2:
        return []
    one, other = of_ending.values()
    if len(one.keys() & other.keys()) < LEAST_PAIRED * min(len(one), len(other)):
        return []
    masks = [list(held.values()) for held in (one, other) if looks_like_masks(_only(folder, held.values()))]
    return masks[0] if len(masks) == 1 else []


def _only(folder: Folder, names: Iterable[str]) -> Folder:
    return Folder(folder.path, tuple(names), ())
