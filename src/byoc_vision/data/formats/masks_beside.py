"""Segmentation: images and masks in one folder, as Roboflow's "Semantic Segmentation Masks"."""

from __future__ import annotations

from collections.abc import Sequence

from byoc_vision.data.formats.base import Inputs, ParsedDataset
from byoc_vision.data.formats.channels import unwrap_folder
from byoc_vision.data.formats.colour_tables import with_colours
from byoc_vision.data.formats.image_mask_pairs import MASK_SUFFIX, pair, skips
from byoc_vision.data.formats.scan import Folder
from byoc_vision.data.samples import DataOptions
from byoc_vision.types import ClassInfo, Task

_LEAST_PAIRED = 0.8  # of the masks


class MasksBesideImages:
    """`1.jpg` and `1_mask.png` in one folder; Roboflow's `_classes.csv` names the values of the masks."""

    name = "masks_beside_images"
    task: Task = "segmentation"
    title = "images with masks in the same folder"
    example = "train/1.jpg, 1_mask.png, 2.jpg, 2_mask.png, …\ntrain/_classes.csv      (optional) Pixel Value, Class"

    def matches(self, inputs: Inputs) -> bool:
        images, masks = _parts(inputs.first.images)
        if inputs.first.masks is not None or not masks.files:
            return False
        stems = {name.rpartition(".")[0] for name in images.files}
        paired = sum(name.rpartition(".")[0].removesuffix(MASK_SUFFIX) in stems for name in masks.files)
        return paired >= _LEAST_PAIRED * len(masks.files)

    def read(self, inputs: Inputs, options: DataOptions, classes: Sequence[ClassInfo] = ()) -> ParsedDataset:
        samples = {
            name: tuple(pair(*_parts(split.images), skip=skips(options))) for name, split in inputs.splits.items()
        }
        return with_colours(ParsedDataset(samples), inputs, options, classes)


def _parts(folder: Folder) -> tuple[Folder, Folder]:
    """The folder as if it held the images alone, and the masks alone."""
    inner = unwrap_folder(folder)
    names = inner.image_names
    masks = tuple(name for name in names if name.rpartition(".")[0].endswith(MASK_SUFFIX))
    images = tuple(name for name in names if not name.rpartition(".")[0].endswith(MASK_SUFFIX))
    return Folder(inner.path, images, ()), Folder(inner.path, masks, ())
