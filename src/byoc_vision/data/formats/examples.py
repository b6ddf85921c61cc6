"""A few samples as they were understood, so that a person sees a misreading at once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from byoc_vision.data.samples import MaskSource, Sample
from byoc_vision.errors import few
from byoc_vision.types import ClassInfo

_SHOWN = 2  # of each split
_MOST_LABELS = 5


def describe_examples(splits: Mapping[str, Sequence[Sample]], classes: Sequence[ClassInfo]) -> Iterator[str]:
    """A line for each split with samples: `train: images/1.jpg with the mask masks/1.png; …`."""
    chosen = {split: samples[:: max(1, len(samples) // _SHOWN)][:_SHOWN] for split, samples in splits.items()}
    files = [file for samples in chosen.values() for sample in samples for file in (sample.image, sample.mask)]
    folders = {file.parent for file in files if isinstance(file, Path)}
    root = os.path.commonpath(folders) if folders else ""
    for split, samples in chosen.items():
        if samples:
            yield f"{split}, for example: " + "; ".join(_described(sample, classes, root) for sample in samples)


def _described(sample: Sample, classes: Sequence[ClassInfo], root: str) -> str:
    image = _shown(sample.image, root)
    if sample.mask is not None:
        more = f" and {len(sample.further_masks)} more" if sample.further_masks else ""
        return f"{image} with the mask {_shown(sample.mask, root)}{more}"
    names = [classes[label].name for label in sample.class_indices if label < len(classes)]
    return f"{image} is {few(names, _MOST_LABELS) or 'of no class'}"


def _shown(file: MaskSource, root: str) -> str:
    return os.path.relpath(file, root) if isinstance(file, Path) and root else str(file)
