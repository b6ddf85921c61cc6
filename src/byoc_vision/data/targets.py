"""The target of a sample: the values in its mask file."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from byoc_vision.data.bands import size_of
from byoc_vision.data.decoding import (
    MAX_PIXELS,
    Content,
    OpenedImage,
    image_size,
    orientation_of,
    read_stored_mask,
    upright,
)
from byoc_vision.data.mask_colours import labels_of_colours
from byoc_vision.data.samples import ColourMap, DrawnMask, MaskMap, MaskSource, Sample
from byoc_vision.data.shapes import draw_mask
from byoc_vision.errors import DataError, few

NO_CLASS = "neither a class nor ignored"  # of a value in a mask

OBJECT = 255  # where a mask of any object is not 0
_SHOWN_VALUES = 6


def read_mask_values(
    sample: Sample,
    size: tuple[int, int] | None = None,
    image: Content | None = None,
    *,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """The labels in a sample's mask, uint8 [H, W]: drawn from its shapes, or translated by its map if it has one.

    size: of the image, height and width, if it is known. image: its file, like which the mask is turned.
    max_pixels: as for `read_mask`.

    Raises DataError as `read_mask` and `draw_mask` do, and if the mask stores a value or a colour that is not in its
    map.
    """
    stored = read_mask_pixels(sample, None, size, image, max_pixels=max_pixels)
    if stored.ndim == 3:
        raise DataError(colours_unknown(sample))
    return stored


def read_mask_pixels(
    sample: Sample,
    opened: OpenedImage | None = None,
    size: tuple[int, int] | None = None,
    image: Content | None = None,
    *,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """As `read_mask_values`; colours without a map are returned as such, uint8 RGB [H, W, 3].

    opened: the mask's file, if its header was read before.
    """
    if sample.mask is None:
        raise ValueError(f"{sample.image} has no mask")
    if isinstance(sample.mask, DrawnMask):
        return _turned(draw_mask(sample.mask, size or size_of(sample.image)), sample, image)
    if isinstance(sample.mask_map, ColourMap):
        stored = read_stored_mask(opened or sample.mask, max_pixels=max_pixels, as_colours=True)
        return _turned(labels_of_colours(stored, sample.mask, sample.mask_map), sample, image)
    stored = read_stored_mask(opened or sample.mask, max_pixels=max_pixels)
    if sample.further_masks or sample.mask_labels:
        stored = _union(stored, sample, max_pixels)
    stored = _turned(stored, sample, image)
    if stored.ndim == 3 and sample.mask_map is not None and sample.mask_map.colours:
        colour_map = ColourMap(sample.mask_map.title, sample.mask_map.colours)
        return labels_of_colours(stored, sample.mask, colour_map)
    if sample.mask_map is None or stored.ndim == 3:
        return stored
    known = dict(sample.mask_map.values)
    unknown = sorted(set(np.unique(stored).tolist()) - known.keys())
    if unknown:
        raise DataError(_not_in_map(sample, sample.mask_map, unknown))
    table = np.zeros(256, np.uint8)
    table[list(known)] = list(known.values())
    return cv2.LUT(stored, table)


def _turned(mask: np.ndarray, sample: Sample, image: Content | None) -> np.ndarray:
    """A mask of the image's stored pixels, turned as EXIF turns the image; another mask as it is.

    Whether it is one, the user says with `mask_orientation`, or its size tells, if width and height differ.
    """
    if image is None or sample.mask_orientation == "upright":
        return mask
    orientation = orientation_of(image)
    if orientation == 1 or (sample.mask_orientation == "auto" and not _is_stored(mask, orientation, image)):
        return mask
    return upright(mask, orientation)


def _is_stored(mask: np.ndarray, orientation: int, image: Content) -> bool:
    height, width = mask.shape[:2]
    return orientation >= 5 and height != width and image_size(image) == (width, height)


def _union(first: np.ndarray, sample: Sample, max_pixels: int) -> np.ndarray:
    """255, or the label of a mask, where it is not 0, uint8 [H, W]. Raises DataError if the masks' sizes differ."""
    background, own, *labels = sample.mask_labels or (0, *(OBJECT,) * (1 + len(sample.further_masks)))
    union = np.where(_is_marked(first), own, background).astype(np.uint8)
    for path, label in zip(sample.further_masks, labels, strict=True):
        mask = _is_marked(read_stored_mask(path, max_pixels=max_pixels))
        if mask.shape != union.shape:
            raise DataError(
                f"{path} has {mask.shape[1]} × {mask.shape[0]} pixels, {sample.mask} of the same image has "
                f"{union.shape[1]} × {union.shape[0]}; export all masks of an image in its size"
            )
        union[mask] = label
    return union


def _is_marked(stored: np.ndarray) -> np.ndarray:
    """Where a mask in numbers or colours is not 0 or black, bool [H, W]."""
    marked: np.ndarray = (stored.max(axis=2) if stored.ndim == 3 else stored) > 0
    return marked


def size_problem(sample: Sample, image: tuple[int, ...], mask: tuple[int, ...]) -> str:
    """The message for a mask with another size than its image. image, mask: height and width in pixels."""
    text = f"{sample.mask} has {mask[1]} × {mask[0]} pixels, its image {sample.image.name} has {image[1]} × {image[0]}"
    if mask == image[::-1] and image[0] != image[1]:
        return text + "; perhaps one of the two was rotated: export both with the same orientation"
    return text + "; export both in the same size"


def values_problem(mask: MaskSource | None, values: Sequence[int]) -> str:
    """The message for a mask that holds values which are neither a class nor ignored."""
    return f"{mask} holds {few(values, _SHOWN_VALUES)}, {NO_CLASS}"


def colours_unknown(sample: Sample) -> str:
    """The message for a mask in colours whose classes are not known."""
    return (
        f"{sample.mask} is a colour image, unlike the other masks; save all masks the same way, or name the colours "
        "with mask_colors"
    )


def _not_in_map(sample: Sample, mask_map: MaskMap, unknown: list[int]) -> str:
    is_turned = not {value for _, value in mask_map.values}.isdisjoint(unknown)
    remedy = mask_map.hint if is_turned and mask_map.hint else "fix the mask or the map"
    shown = few(unknown, _SHOWN_VALUES)
    return f"{sample.mask} holds the values {shown}, which {mask_map.title} does not contain; {remedy}"
