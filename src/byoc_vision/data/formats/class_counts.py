"""Classes that have too few training images to be learned."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from byoc_vision.data.samples import Sample
from byoc_vision.errors import DataError
from byoc_vision.types import ClassInfo

logger = logging.getLogger(__name__)

_SHOWN = 20


def without_small_classes(
    samples: Mapping[str, Sequence[Sample]], names: Sequence[str], minimum: int | None
) -> tuple[dict[str, tuple[Sample, ...]], tuple[ClassInfo, ...]]:
    """The samples, by split, and the classes that have `minimum` training images or more; None: all.

    Labels count anew from 0. The others are left out of every split, and named in the log.
    Raises DataError where fewer than two classes remain.
    """
    counts = Counter(sample.label for sample in samples["train"])
    small = [index for index in range(len(names)) if minimum is not None and counts[index] < minimum]
    kept = [index for index in range(len(names)) if index not in set(small)]
    if not small:
        return {split: tuple(held) for split, held in samples.items()}, tuple(map(ClassInfo, names))
    named = [f"{names[index]} ({counts[index]})" for index in small]
    shown = ", ".join(named[:_SHOWN]) + (f", … and {len(named) - _SHOWN} more" if len(named) > _SHOWN else "")
    if len(kept) < 2:
        raise DataError(
            f"{len(kept)} of {len(names)} classes have {minimum} training images or more (min_class_count); a "
            f"classifier needs two. Lower min_class_count; the others are: {shown}"
        )
    logger.warning("classes with fewer than %d training images (min_class_count) are left out: %s", minimum, shown)
    label_of = {index: label for label, index in enumerate(kept)}
    remaining = {
        split: tuple(replace(sample, label=label_of[sample.label]) for sample in held if sample.label in label_of)
        for split, held in samples.items()
    }
    return remaining, tuple(ClassInfo(names[index]) for index in kept)
