"""The target of a sample: the values in its mask file."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from byoc_vision.data.decoding import MAX_PIXELS, Content, read_mask
from byoc_vision.data.samples import ImageSource, MaskMap, Sample
from byoc_vision.errors import DataError

NO_CLASS = "neither a class nor ignored"  # of a value in a mask

_SHOWN_VALUES = 6


def read_mask_values(sample: Sample, content: Content | None = None, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The labels in a sample's mask, uint8 [H, W], translated by its map if it has one.

    content: of the mask's file, if it was read before.

    Raises DataError as `read_mask` does, and if the mask stores a value that is not in its map.
    """
    if sample.mask is None:
        raise ValueError(f"{sample.image} has no mask")
    stored = read_mask(content or sample.mask, max_pixels=max_pixels)
    if sample.further_masks:
        stored = _union(stored, sample)
    if sample.mask_map is None:
        return stored
    known = dict(sample.mask_map.values)
    unknown = sorted(set(np.unique(stored).tolist()) - known.keys())
    if unknown:
        raise DataError(_not_in_map(sample, sample.mask_map, unknown))
    table = np.zeros(256, np.uint8)
    table[list(known)] = list(known.values())
    return cv2.LUT(stored, table)


def _union(first: np.ndarray, sample: Sample) -> np.ndarray:
    """255 where a mask of any object is not 0, uint8 [H, W]. Raises DataError if their sizes differ."""
    union = np.where(first > 0, 255, 0).astype(np.uint8)
    for path in sample.further_masks:
        mask = read_mask(path)
        if mask.shape != union.shape:
            raise DataError(
                f"{path} has {mask.shape[1]} × {mask.shape[0]} pixels, {sample.mask} of the same image has "
                f"{union.shape[1]} × {union.shape[0]}; export all masks of an image in its size"
            )
        union[mask > 0] = 255
    return union


def size_problem(sample: Sample, image: tuple[int, ...], mask: tuple[int, ...]) -> str:
    """The message for a mask with another size than its image. image, mask: height and width in pixels."""
    text = f"{sample.mask} has {mask[1]} × {mask[0]} pixels, its image {sample.image.name} has {image[1]} × {image[0]}"
    if mask == image[::-1] and image[0] != image[1]:
        return text + "; perhaps the image is rotated by its EXIF orientation: draw the mask over the upright image"
    return text + "; export both in the same size"


def values_problem(mask: ImageSource | None, values: Sequence[int]) -> str:
    """The message for a mask that holds values which are neither a class nor ignored."""
    shown = ", ".join(map(str, values[:_SHOWN_VALUES])) + (", …" if len(values) > _SHOWN_VALUES else "")
    return f"{mask} holds {shown}, {NO_CLASS}"


def _not_in_map(sample: Sample, mask_map: MaskMap, unknown: list[int]) -> str:
    shown = ", ".join(map(str, unknown[:_SHOWN_VALUES])) + (", …" if len(unknown) > _SHOWN_VALUES else "")
    is_turned = not {value for _, value in mask_map.values}.isdisjoint(unknown)
    remedy = mask_map.hint if is_turned and mask_map.hint else "fix the mask or the map"
    return f"{sample.mask} holds the values {shown}, which {mask_map.title} does not contain; {remedy}"
