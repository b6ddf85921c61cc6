"""Masks whose colours are the classes: colours by name and as numbers, and the labels of a mask's pixels."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from byoc_vision.colours import join, to_hex
from byoc_vision.data.samples import ColourMap, MaskSource
from byoc_vision.errors import DataError, few
from byoc_vision.preprocess import IGNORED

MOST_COLOURS = 254  # so many classes has an 8-bit mask, beside 255, which is ignored, and 254, a colour without a class
_UNKNOWN = 254
_SHOWN = 6
VOC_BORDER = 0xE0E0C0
_GREY = 0x010101
VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


def voc_colour(index: int) -> int:
    """The colour of a class in the palette of Pascal VOC (function VOClabelcolormap of its development kit)."""
    levels = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            levels[channel] |= (index >> channel & 1) << 7 - bit
        index >>= 3
    return join(*levels)


def colour_codes(rgb: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] → 0xRRGGBB of each pixel, int32 [H, W]."""
    wide = rgb.astype(np.int32)
    codes: np.ndarray = wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]
    return codes


def count_colours(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The colours of a mask, uint8 [H, W, 3], ascending as 0xRRGGBB, and the pixels of each.

    Runs of one colour are counted as one: masks have few, and to sort all pixels is slow.
    """
    codes = colour_codes(rgb).ravel()
    starts = np.concatenate(([0], np.flatnonzero(codes[1:] != codes[:-1]) + 1))
    lengths = np.diff(starts, append=codes.size)
    colours, place = np.unique(codes[starts], return_inverse=True)
    return colours, np.bincount(place, weights=lengths).astype(np.int64)


def labels_of_colours(stored: np.ndarray, mask: MaskSource, colour_map: ColourMap) -> np.ndarray:
    """The labels of a mask in colours, uint8 [H, W].

    stored: colours, uint8 [H, W, 3]; or numbers, uint8 [H, W], which are grey levels of the map or rows of its table.
    Raises DataError that names the colours which the map does not have.
    """
    codes = colour_codes(stored) if stored.ndim == 3 else stored.astype(np.int32) * _GREY
    labels: np.ndarray = _table(colour_map)[codes]
    unknown = labels == _UNKNOWN
    if not unknown.any():
        return labels
    if stored.ndim == 2 and int(stored.max()) < len(colour_map.rows):
        rows: np.ndarray = np.array(colour_map.rows, np.uint8)[stored]
        return rows
    found, counts = np.unique(codes[unknown], return_counts=True)
    shown = few([to_hex(int(colour)) for colour in found[np.argsort(counts)[::-1]]], _SHOWN)
    raise DataError(
        f"{mask} holds the colours {shown}, which {colour_map.title} does not contain ({100 * unknown.mean():.2g} % of "
        "the pixels); add them there, or save the mask without soft edges or compression"
    )


def too_many_colours(masks: str, count: int) -> str:
    """The message for more colours than an 8-bit mask has classes. masks: which, with their verb."""
    return (
        f"{masks} {count:,} colours, and masks can have {MOST_COLOURS} classes: labels have 8 bits, of which 255 is "
        "ignored and 254 is a colour without a class. If all are classes, join some with mask_colors, such as "
        "car=#800000, car=#c00000, ignore=#ffffff; if there are soft edges or traces of compression, save masks as "
        "PNG, one colour a class"
    )


@lru_cache(maxsize=4)  # 16 MiB each; a job has one map, or one for each split
def _table(colour_map: ColourMap) -> np.ndarray:
    """uint8 [2 ** 24]: 0xRRGGBB → label."""
    table = np.full(2**24, _UNKNOWN, np.uint8)
    table[VOC_BORDER] = IGNORED
    for colour, label in colour_map.values:
        table[colour] = label
    return table
