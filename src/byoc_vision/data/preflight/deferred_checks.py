"""Samples that were not read before training, and what is said where one of them turns out bad."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from byoc_vision.data.preflight.scan import Survey, survey
from byoc_vision.data.preflight.validation import find_strangers
from byoc_vision.data.samples import Dataset, Sample
from byoc_vision.data.targets import NO_CLASS, values_problem
from byoc_vision.errors import DataError, list_problems

logger = logging.getLogger(__name__)

MOST_SECONDS = 60.0  # of looking for further bad samples: a machine that stands still is paid for too


def name_all(dataset: Dataset, reason: str, *, seconds: float = MOST_SECONDS) -> DataError:
    """The error of a job that came upon a sample it cannot use: all such samples are named in it, as before training.

    reason: what is wrong with that one. seconds: after which no further samples are read; the error then says so.
    """
    logger.info("A sample cannot be used; all others are read, in %.0f s at the most, so that all are named", seconds)
    return DataError(_message(dataset, dataset.splits, reason, seconds))


def check_split(dataset: Dataset, split: str, *, seconds: float = MOST_SECONDS) -> None:
    """Read a split's samples, as many as the time allows. Raises DataError that names those that cannot be used."""
    if message := _message(dataset, {split: dataset.splits.get(split, ())}, None, seconds):
        raise DataError(message)


def _message(dataset: Dataset, splits: Mapping[str, Sequence[Sample]], reason: str | None, seconds: float) -> str:
    """What cannot be used of these samples, the reason among it; empty where all can be."""
    seen = _read(dataset, splits, seconds)
    problems = [fault.problem for fault in seen.all_faults]
    if reason and reason not in problems:  # not reached in time, or it can be read by now
        problems.insert(0, reason)
    if not problems:
        return ""
    total = sum(len(samples) for samples in splits.values())
    read = sum(seen.checked(split) for split in splits)
    in_time = "" if read == total else f" ({read:,} were read in {seconds:.0f} s)"
    headline = (
        f"{len(problems)} of {total:,} samples cannot be used{in_time}; mend them, or leave them out with "
        f"on_bad_sample=skip{_hint(dataset, problems)}:"
    )
    return list_problems(headline, problems)


def _read(dataset: Dataset, splits: Mapping[str, Sequence[Sample]], seconds: float) -> Survey:
    seen = survey(splits, seconds=seconds)
    unknown_values = find_strangers(seen.mask_values(), dataset.classes, dataset.ignore_value)
    seen.mark_invalid({stranger.mask: values_problem(stranger.mask, stranger.values) for stranger in unknown_values})
    return seen


def _hint(dataset: Dataset, problems: Sequence[str]) -> str:
    """What to do about values that no class has: they may be classes that none of the masks read before has shown."""
    if not any(NO_CLASS in problem for problem in problems):
        return ""
    known = ", ".join(str(entry.value) for entry in dataset.classes)
    ignored = "" if dataset.ignore_value is None else f", ignored is {dataset.ignore_value}"
    total = sum(len(samples) for samples in dataset.splits.values())
    return (
        f". The classes are {known}{ignored}: where one is missing, say how many there are with num_classes, or have "
        f"all masks read for them with checked_pictures={total}; ignore_index names a value to ignore"
    )
