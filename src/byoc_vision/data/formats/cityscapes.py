"""Segmentation: Cityscapes, with the 19 classes that its benchmark counts.

https://github.com/mcordts/cityscapesScripts, cityscapesscripts/helpers/labels.py: ids, train ids and colours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from byoc_vision.data.formats.base import Inputs, ParsedDataset
from byoc_vision.data.formats.channels import Split
from byoc_vision.data.formats.image_mask_pairs import leave_out
from byoc_vision.data.formats.scan import Folder
from byoc_vision.data.samples import DataOptions, MaskMap, Sample
from byoc_vision.errors import DataError, list_problems
from byoc_vision.preprocess import IGNORED
from byoc_vision.types import ClassInfo, Task

_IMAGES, _MASKS = "leftimg8bit", "gtfine"
_IMAGE_END, _IDS_END, _TRAIN_IDS_END = "_leftImg8bit", "_gtFine_labelIds", "_gtFine_labelTrainIds"
# id, name, colour; the train id is the place in this list.
_LABELS = (
    (7, "road", "#804080"),
    (8, "sidewalk", "#f423e8"),
    (11, "building", "#464646"),
    (12, "wall", "#66669c"),
    (13, "fence", "#be9999"),
    (17, "pole", "#999999"),
    (19, "traffic light", "#faaa1e"),
    (20, "traffic sign", "#dcdc00"),
    (21, "vegetation", "#6b8e23"),
    (22, "terrain", "#98fb98"),
    (23, "sky", "#4682b4"),
    (24, "person", "#dc143c"),
    (25, "rider", "#ff0000"),
    (26, "car", "#00008e"),
    (27, "truck", "#000046"),
    (28, "bus", "#003c64"),
    (31, "train", "#005064"),
    (32, "motorcycle", "#0000e6"),
    (33, "bicycle", "#770b20"),
)
_TRAIN_ID = {number: place for place, (number, _, _) in enumerate(_LABELS)}
_MAP = MaskMap(
    "the list of Cityscapes' labels", tuple((number, _TRAIN_ID.get(number, IGNORED)) for number in range(256))
)


class Cityscapes:
    """`leftImg8bit/train/CITY/*.png` and `gtFine/train/CITY/*_gtFine_labelIds.png`, or the like with `labelTrainIds`.

    The values are the train ids 0–18; other labels are ignored. The published test masks hold no labels and are not
    read.
    """

    name = "cityscapes"
    task: Task = "segmentation"
    title = "Cityscapes"
    example = (
        "train/leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png, …    (val/, test/ likewise)\n"
        "train/gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png, …"
    )

    def matches(self, inputs: Inputs) -> bool:
        return _folders(inputs.first) is not None

    def read(self, inputs: Inputs, options: DataOptions, classes: Sequence[ClassInfo] = ()) -> ParsedDataset:
        splits = {name: split for name, split in inputs.splits.items() if name != "test" or split is inputs.first}
        samples = {name: tuple(_samples(split, skip=options.skips)) for name, split in splits.items()}
        named = tuple(ClassInfo(name, place, colour) for place, (_, name, colour) in enumerate(_LABELS))
        return ParsedDataset(samples, named, IGNORED)


def _folders(split: Split) -> tuple[Folder, Folder] | None:
    for outer in split.images.unwrapped():
        named = {inner.name.lower(): inner for inner in outer.image_folders}
        if _IMAGES in named and _MASKS in named:
            return named[_IMAGES], named[_MASKS]
    return None


def _samples(split: Split, *, skip: bool) -> Iterator[Sample]:
    found = _folders(split)
    if found is None:
        raise DataError(f"{split.images.path}: there are no folders leftImg8bit/ and gtFine/ as in the training data")
    images, masks = found
    image_of = {path.stem.removesuffix(_IMAGE_END): path for path in images.images()}
    ids, train_ids = (_with_end(masks, end) for end in (_IDS_END, _TRAIN_IDS_END))
    missing = [str(path) for stem, path in image_of.items() if stem not in ids and stem not in train_ids]
    headline = f"images without *{_IDS_END}.png in {masks.path}; unpack gtFine_trainvaltest.zip beside the images:"
    leave_out(missing, len(image_of), list_problems(headline, missing), skip=skip)
    for stem, path in image_of.items():
        if stem in train_ids:
            yield Sample(images.path / path, masks.path / train_ids[stem])
        elif stem in ids:
            yield Sample(images.path / path, masks.path / ids[stem], mask_map=_MAP)


def _with_end(folder: Folder, end: str) -> dict[str, PurePosixPath]:
    return {path.stem.removesuffix(end): path for path in folder.images() if path.stem.endswith(end)}
