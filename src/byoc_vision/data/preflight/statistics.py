"""From the statistics of samples to the numbers of the report."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from byoc_vision.data.preflight.report import Channels, ClassReport, Coverage, Tones
from byoc_vision.data.preflight.scan import SampleStats
from byoc_vision.data.samples import Dataset
from byoc_vision.types import ClassInfo

# Of 256 levels. 12 bits in a 16-bit file, and class indices, stay below DARK.
DARK = 32
BRIGHT = 223


def count_classes(dataset: Dataset, stats: Mapping[str, Sequence[SampleStats]]) -> list[ClassReport]:
    """The images of each class: of all samples for classification, of the samples read for segmentation."""
    if dataset.task == "segmentation":
        return _count_mask_classes(dataset.classes, stats)
    counts = {
        split: Counter(label for sample in samples for label in sample.class_indices)
        for split, samples in dataset.splits.items()
    }
    return [
        ClassReport(entry.name, None, {split: count[index] for split, count in counts.items()}, None)
        for index, entry in enumerate(dataset.classes)
    ]


def _count_mask_classes(classes: Sequence[ClassInfo], stats: Mapping[str, Sequence[SampleStats]]) -> list[ClassReport]:
    shown = {split: Counter(value for one in seen for value in one.counts) for split, seen in stats.items()}
    pixels: Counter[int] = Counter()
    for one in stats.get("train", ()):
        pixels.update(one.counts)
    return mask_classes(classes, shown, pixels)


def mask_classes(
    classes: Sequence[ClassInfo], shown: Mapping[str, Counter[int]], pixels: Counter[int]
) -> list[ClassReport]:
    """The classes of masks.

    shown: by split, the masks that hold each value. pixels: of each value, in the training masks.
    """
    values = [entry.value for entry in classes if entry.value is not None]
    total = max(sum(pixels[value] for value in values), 1)
    return [
        # Not rounded: class weights are made of the shares, and a small object may have a pixel in a million.
        ClassReport(entry.name, value, {split: count[value] for split, count in shown.items()}, pixels[value] / total)
        for entry, value in zip(classes, values, strict=True)
    ]


def measure_ignored(ignore_value: int | None, stats: Sequence[SampleStats]) -> float | None:
    """The share of ignored pixels in the masks, 0–1; None if no value is ignored."""
    total = sum(sum(one.counts.values()) for one in stats)
    if ignore_value is None or not total:
        return None
    return round(sum(one.counts.get(ignore_value, 0) for one in stats) / total, 6)


def measure_channels(stats: Sequence[SampleStats]) -> Channels | None:
    if not stats:
        return None
    means, stds = np.array([one.mean for one in stats]), np.array([one.std for one in stats])
    mean = means.mean(axis=0)
    # The variance within the images and between them.
    variance = (stds**2).mean(axis=0) + ((means - mean) ** 2).mean(axis=0)
    return Channels(_rounded(mean / 255), _rounded(np.sqrt(variance) / 255))


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in values)


def measure_tones(stats: Sequence[SampleStats]) -> Tones:
    return Tones(
        images=len(stats),
        grey=sum(one.is_grey for one in stats),
        dark=sum(one.brightest < DARK for one in stats),
        bright=sum(one.darkest > BRIGHT for one in stats),
        two_tone=sum(one.is_two_tone for one in stats),
    )


def measure_coverage(dataset: Dataset, stats: Sequence[SampleStats]) -> Coverage | None:
    """None if no class is called background, or no pixel counts."""
    background = _background(dataset.classes)
    if background is None:
        return None
    others = {entry.value for entry in dataset.classes} - {background}
    shares = []
    for one in stats:
        foreground = sum(count for value, count in one.counts.items() if value in others)
        if total := foreground + one.counts.get(background, 0):
            shares.append(foreground / total)
    if not shares:
        return None
    return Coverage(
        minimum=round(min(shares), 6),
        median=round(statistics.median(shares), 6),
        maximum=round(max(shares), 6),
        masks=len(shares),
        empty=shares.count(0),
        full=shares.count(1),
    )


def _background(classes: Sequence[ClassInfo]) -> int | None:
    """The mask value of the class with the name background."""
    return next((entry.value for entry in classes if entry.name.lower() == "background"), None)
