"""Masks saved as JPEG or drawn with soft edges: their many values stand for two classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from byoc_vision.colours import join, to_hex
from byoc_vision.data.mask_colours import VOC_BORDER
from byoc_vision.data.preflight.scan import IS_COLOUR, InvalidSample, MaskStats, ScanResult, colour_of
from byoc_vision.data.samples import ColourMap, DataOptions, Dataset, MaskMap, Sample
from byoc_vision.errors import DataError, few
from byoc_vision.preprocess import IGNORED

TITLE = "masks with soft edges"
_REMEDY = "save masks as PNG with hard edges, one value a class"

_NEAR = 32  # of 256 levels: artefacts of JPEG stay this close to the value that was saved
_LEAST_APART = 64
_LEAST_NEAR = 0.85  # of the pixels in masks of two values
_MOST_THIRD = 0.02  # of the pixels around a third value
_LEAST_SHARE = 0.005  # of the pixels of a class that was meant
# Soft edges in a lossless file: so many values that few pixels hold.
_LEAST_RARE_VALUES = 5
_MOST_RARE_PIXELS = 0.15


def find_soft_masks(dataset: Dataset, seen: ScanResult, options: DataOptions) -> MaskMap | None:
    """The map to two values, if the training masks are lossy or have soft edges; None if they are clean.

    Raises DataError that names a mask if the values are not clustered around two.
    """
    is_given = dataset.classes or dataset.ignore_value is not None or options.ignore_index is not None
    masks = [one for one in seen.stats.get("train", []) if one.mask is not None and one.sample.mask_map is None]
    if dataset.task != "segmentation" or is_given or not masks:
        return None
    pixels = _histogram([one.mask for one in masks if one.mask is not None])
    lossy = [one for one in masks if one.has_lossy_mask]
    if not (_is_noisy(pixels) if lossy else _has_soft_edges(pixels)):
        return None
    centres = _two_centres(pixels) if options.num_classes in (None, 2) else None
    if centres is None and not lossy:
        return None  # grey levels without order: `infer_classes` judges them
    if centres is None:
        raise DataError(
            f"{len(lossy)} of {len(masks)} masks are saved with loss, such as {lossy[0].sample.mask}: they "
            f"hold {np.count_nonzero(pixels)} different values, which do not belong to two classes. Compression "
            f"changes the values of masks: {_REMEDY}"
        )
    low, high = centres
    middle = (low + high) / 2
    return MaskMap(TITLE, tuple((value, low if value < middle else high) for value in range(256)))


def warn_about_soft_masks(dataset: Dataset) -> list[str]:
    """The warning, if the masks of a checked dataset are read as two values."""
    mask_map = dataset.train[0].mask_map if dataset.train else None
    if mask_map is None or mask_map.title != TITLE:
        return []
    low, high = sorted({label for _, label in mask_map.values})
    middle = min(value for value, label in mask_map.values if label == high)
    return [
        f"the masks are saved as JPEG or have soft edges, such as {dataset.train[0].mask}; they are read as two "
        f"classes: values below {middle} are {low}, the others {high}. Edges may be off by some pixels: {_REMEDY}"
    ]


def apply_map(dataset: Dataset, mask_map: MaskMap | ColourMap) -> Dataset:
    """The dataset with the map on each mask."""
    return dataset.with_samples(lambda samples: _mapped(samples, mask_map))


def map_samples(splits: Mapping[str, Sequence[Sample]], mask_map: MaskMap | ColourMap) -> dict[str, list[Sample]]:
    return {split: _mapped(samples, mask_map) for split, samples in splits.items()}


def map_scan(seen: ScanResult, mask_map: MaskMap | ColourMap) -> ScanResult:
    """The statistics as if the masks had been read with the map; masks with colours that it lacks become invalid."""
    label_of = _colour_labels(mask_map) if isinstance(mask_map, ColourMap) else dict(mask_map.values)
    mapped = ScanResult()
    for split, stats in seen.stats.items():
        valid, invalid = mapped.stats.setdefault(split, []), mapped.invalid.setdefault(split, [])
        invalid += [bad._replace(sample=_map_one(bad.sample, mask_map)) for bad in seen.invalid.get(split, [])]
        for one in stats:
            sample = _map_one(one.sample, mask_map)
            if one.mask is None or sample is one.sample:
                valid.append(one)
            elif unknown := [to_hex(colour_of(value)) for value in one.mask.values if value not in label_of]:
                problem = f"{sample.mask} holds the colours {few(unknown, 6)}, which {mask_map.title} does not contain"
                invalid.append(InvalidSample(sample, problem))
            else:
                valid.append(replace(one, sample=sample, mask=one.mask.mapped(label_of)))
    return mapped


def _colour_labels(colour_map: ColourMap) -> dict[int, int]:
    """The labels by the values in `MaskStats`: colours, and grey levels for greys."""
    pairs = [*colour_map.values, (VOC_BORDER, IGNORED)]
    greys = {colour & 255: label for colour, label in pairs if colour == join(*[colour & 255] * 3)}
    return greys | {IS_COLOUR | colour: label for colour, label in pairs}


def _mapped(samples: Sequence[Sample], mask_map: MaskMap | ColourMap) -> list[Sample]:
    return [_map_one(sample, mask_map) for sample in samples]


def _map_one(sample: Sample, mask_map: MaskMap | ColourMap) -> Sample:
    return replace(sample, mask_map=mask_map) if sample.mask is not None and sample.mask_map is None else sample


def _histogram(masks: Sequence[MaskStats]) -> np.ndarray:
    """Pixels by value, int64 [256]."""
    pixels = np.zeros(256, np.int64)
    for mask in masks:
        pixels[list(mask.values)] += mask.pixels
    return pixels


def _is_noisy(pixels: np.ndarray) -> bool:
    """Whether there are values that are too rare to be meant, beside two others."""
    held = pixels[pixels > 0]
    return len(held) > 2 and bool((held < _LEAST_SHARE * held.sum()).any())


def _has_soft_edges(pixels: np.ndarray) -> bool:
    """Whether two values dominate, and many rare ones lie between, without the regular steps of grey levels."""
    values = np.flatnonzero(pixels)
    by_count = values[np.argsort(pixels[values])[::-1]]
    if len(values) < _LEAST_RARE_VALUES + 2 or abs(int(by_count[0]) - int(by_count[1])) < _LEAST_APART:
        return False
    rare = pixels[by_count[2:]]
    step = np.gcd.reduce(np.diff(values))
    return bool(
        step == 1
        and rare.sum() <= _MOST_RARE_PIXELS * pixels.sum()
        and rare.max() < _LEAST_SHARE * 4 * pixels.sum()
        and by_count[2:].max() - by_count[2:].min() >= _LEAST_APART
    )


def _two_centres(pixels: np.ndarray) -> tuple[int, int] | None:
    """The two values around which nearly all others lie, ascending; None if there are not two."""
    total = int(pixels.sum())
    first = int(pixels.argmax())
    rest = pixels.copy()
    rest[max(0, first - _NEAR) : first + _NEAR + 1] = 0
    if not rest.any():
        return None
    second = int(rest.argmax())
    rest[max(0, second - _NEAR) : second + _NEAR + 1] = 0
    around_third = np.convolve(rest, np.ones(_NEAR // 2 + 1, np.int64), mode="same").max()
    third = rest.max()
    is_third = around_third > _MOST_THIRD * total and third > 4 * np.median(rest[rest > 0])
    if abs(first - second) < _LEAST_APART or is_third or int(rest.sum()) > (1 - _LEAST_NEAR) * total:
        return None
    low, high = sorted((first, second))
    return 0 if low <= _NEAR else low, 255 if high >= 255 - _NEAR else high
