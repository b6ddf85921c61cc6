"""Masks in colours that no table names: the colours of the training masks are the classes."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from byoc_vision.colours import split as levels_of
from byoc_vision.colours import to_hex
from byoc_vision.data.mask_colours import MOST_COLOURS, VOC_BORDER, VOC_CLASSES, too_many_colours, voc_colour
from byoc_vision.data.preflight.scan import IS_COLOUR, SampleStats, ScanResult, colour_of
from byoc_vision.data.samples import ColourMap, DataOptions, Dataset, MaskSource
from byoc_vision.data.targets import colours_unknown
from byoc_vision.errors import DataError
from byoc_vision.types import ClassInfo

_REMEDY = "Save masks as PNG with hard edges, one colour a class, or name the colours that count with mask_colors"
_RARE = 0.01  # of the pixels of all masks
_MANY_BETWEEN = 6  # the palette of Pascal VOC has three between two others
_MANY_AROUND = 20
_NEAR = 24  # of 256 levels: traces of compression stay this close to the colour that was saved
_OFF = 6
_END = 0.02
TITLE = "the set of colours in the training masks"


class FoundColours(NamedTuple):
    """The classes of the colours, and the map to their labels."""

    classes: tuple[ClassInfo, ...]
    colour_map: ColourMap


def find_colours(dataset: Dataset, seen: ScanResult) -> FoundColours | None:
    """The classes, if the training masks are in colours without a map; black is the first, the others follow by value.

    A class has the name of its colour, `#800000`. Colours of Pascal VOC with its border, which is ignored, have the
    names and the labels of its classes.

    Raises DataError if there are more colours than an 8-bit mask has values, or if compression or soft edges made them.
    """
    masks = [one for one in seen.stats.get("train", []) if one.mask is not None and one.sample.mask_map is None]
    first = next((one for one in masks if max(one.counts) >= IS_COLOUR), None)
    if dataset.task != "segmentation" or first is None:
        return None
    if dataset.classes:
        raise DataError(colours_unknown(first.sample))
    colours = {colour_of(value) for one in masks for value in one.counts}
    of_voc = {voc_colour(index): index for index in range(len(VOC_CLASSES))}
    if VOC_BORDER in colours and colours <= {VOC_BORDER, *of_voc}:
        named = tuple(ClassInfo(VOC_CLASSES[index], index, to_hex(colour)) for colour, index in of_voc.items())
        return FoundColours(named, ColourMap("the palette of Pascal VOC", tuple(of_voc.items())))
    colours.discard(VOC_BORDER)
    _check_noise(masks)
    if len(colours) > MOST_COLOURS:
        raise DataError(too_many_colours(f"the training masks, such as {first.sample.mask}, hold", len(colours)))
    ordered = sorted(colours)  # black, if there is any, comes first
    classes = tuple(ClassInfo(to_hex(colour), label, to_hex(colour)) for label, colour in enumerate(ordered))
    return FoundColours(classes, ColourMap(TITLE, tuple((colour, label) for label, colour in enumerate(ordered))))


def check_palettes(dataset: Dataset, seen: ScanResult, options: DataOptions) -> None:
    """Raises DataError if one colour has several numbers in the palettes of masks whose numbers would be the classes.

    `num_classes` says that the numbers count, whatever their colours.
    """
    if dataset.task != "segmentation" or dataset.classes or options.num_classes is not None:
        return
    first: dict[int, tuple[int, MaskSource | None]] = {}
    for one in seen.all_stats:
        for value, colour in zip(one.counts if one.palette else (), one.palette, strict=True):
            number, mask = first.setdefault(colour, (value, one.sample.mask))
            if number != value and mask != one.sample.mask:
                raise DataError(
                    f"the palettes of masks differ: {to_hex(colour)} is {number} in {mask}, but {value} in "
                    f"{one.sample.mask}. If the colours are the classes, name them with mask_colors; if the numbers "
                    "are, set num_classes"
                )


def _check_noise(masks: Sequence[SampleStats]) -> None:
    """Raises DataError if the masks are saved with loss, or if rare colours lie between two others or around one."""
    if lossy := [one for one in masks if one.has_lossy_mask]:
        raise DataError(
            f"{len(lossy)} of {len(masks)} masks are in colours and saved with loss, such as {lossy[0].sample.mask}: "
            f"compression changes the colours. {_REMEDY}"
        )
    pixels: Counter[int] = Counter()
    for one in masks:
        pixels.update({colour_of(value): count for value, count in one.counts.items()})
    total = pixels.total()
    rare = np.array([levels_of(colour) for colour, count in pixels.items() if count < _RARE * total])
    common = np.array([levels_of(colour) for colour, count in pixels.most_common() if count >= _RARE * total])
    most = max((_count_between(rare, *two) for two in itertools.combinations(common, 2)), default=0)
    around = (
        max((int((np.abs(rare - one).max(axis=1) <= _NEAR).sum()) for one in common), default=0) if len(rare) else 0
    )
    if most >= _MANY_BETWEEN or around >= _MANY_AROUND:
        raise DataError(
            f"the training masks, such as {masks[0].sample.mask}, hold {len(pixels)} colours, and many rare ones lie "
            f"between or around others: soft edges or compression made them. {_REMEDY}"
        )


def _count_between(rare: np.ndarray, first: np.ndarray, second: np.ndarray) -> int:
    """How many colours lie on the line between two others."""
    along = (second - first).astype(float)
    if not len(rare) or not along.any():
        return 0
    place = (rare - first) @ along / (along @ along)
    off = np.abs(rare - first - place[:, None] * along).max(axis=1)
    return int(((place > _END) & (place < 1 - _END) & (off <= _OFF)).sum())
