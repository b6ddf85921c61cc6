"""Leaves out images of phones if no file with their ending can be decoded, like files of other endings.

HEIC and AVIF are containers for many codecs, and cloud drives keep placeholders of them. If no file with such an ending
can be decoded, the data set cannot be trained on that ending; if one can, the others are damaged.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from byoc_vision.data.decoding import read_image
from byoc_vision.data.formats.base import ParsedDataset
from byoc_vision.data.samples import Sample
from byoc_vision.errors import DataError, list_problems

logger = logging.getLogger(__name__)

_ENDINGS = (".heic", ".heif", ".avif")
_LEAST = 2  # files: one alone is a damaged file
_REMEDY = "convert them to JPEG or PNG, copy them again, or remove them"


def without_unread_endings(found: ParsedDataset) -> ParsedDataset:
    """The samples without those of an ending of which no file can be decoded, if there are other samples; logs them.

    Of an ending that is read, one file is opened.
    Raises DataError that names the classes without any other training image.
    """
    of_ending: dict[str, list[Sample]] = defaultdict(list)
    for samples in found.samples.values():
        for sample in samples:
            if (ending := _ending(sample)) in _ENDINGS:
                of_ending[ending].append(sample)
    if sum(map(len, of_ending.values())) == sum(map(len, found.samples.values())):
        return found
    unread = {ending: problem for ending, held in of_ending.items() if (problem := _problem_of_all(held))}
    if not unread:
        return found
    if lost := _lost_classes(found, unread):
        raise DataError(list_problems(f"classes without a training image that can be decoded; {_REMEDY}:", lost))
    logger.warning(
        "files that are not read: %d (%s); none of them can be decoded, such as %s; %s",
        sum(len(of_ending[ending]) for ending in unread),
        ", ".join(f"{len(of_ending[ending])} × {ending}" for ending in unread),
        next(iter(unread.values())).partition(";")[0],
        _REMEDY,
    )
    kept = {
        split: tuple(sample for sample in samples if _ending(sample) not in unread)
        for split, samples in found.samples.items()
    }
    return replace(found, samples={split: held for split, held in kept.items() if held or split == "train"})


def _ending(sample: Sample) -> str:
    return f".{sample.image.name.rpartition('.')[2].lower()}"  # strings: there may be 100,000 images


def _problem_of_all(samples: Sequence[Sample]) -> str:
    """Why the first of the images cannot be decoded; empty if any can, or if one is not on this host."""
    problems = []
    for sample in samples if len(samples) >= _LEAST else ():
        if isinstance(sample.image, Path) and not sample.image.exists():
            return ""
        try:
            read_image(sample.image)
        except DataError as error:
            problems.append(str(error))
            continue
        return ""
    return problems[0] if problems else ""


def _lost_classes(found: ParsedDataset, unread: dict[str, str]) -> list[str]:
    endings: dict[int, Counter[str]] = defaultdict(Counter)
    for sample in found.samples["train"]:
        for label in sample.class_indices:
            endings[label][_ending(sample)] += 1
    return [
        f"{found.classes[label].name}: {', '.join(f'{count} × {ending}' for ending, count in held.most_common())}"
        for label, held in sorted(endings.items())
        if held.keys() <= unread.keys()
    ]
