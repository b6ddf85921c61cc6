"""Samples that were not read before training: reads them once a job meets an invalid one, and names all of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from byoc_vision.data.preflight.scan import ScanResult, scan_samples
from byoc_vision.data.preflight.validation import find_unknown_values
from byoc_vision.data.samples import Dataset, Sample
from byoc_vision.data.targets import NO_CLASS, values_problem
from byoc_vision.errors import DataError, list_problems

logger = logging.getLogger(__name__)

MOST_SECONDS = 60.0  # of reading further samples: an idle machine is billed too


def error_naming_all(dataset: Dataset, reason: str, *, seconds: float = MOST_SECONDS) -> DataError:
    """The error of a job that met an invalid sample: it names all invalid samples, as the check before training does.

    reason: what is wrong with that one. seconds: the time limit for reading; the error says if it was reached.
    """
    logger.info("A sample cannot be used. Reading all others, for %.0f s at most, to name every invalid one", seconds)
    return DataError(_message(dataset, dataset.splits, reason, seconds))


def check_split(dataset: Dataset, split: str, *, seconds: float = MOST_SECONDS) -> None:
    """Read the samples of a split, as many as the time allows. Raises DataError that names the invalid ones."""
    if message := _message(dataset, {split: dataset.splits.get(split, ())}, None, seconds):
        raise DataError(message)


def _message(dataset: Dataset, splits: Mapping[str, Sequence[Sample]], reason: str | None, seconds: float) -> str:
    """A message that names the invalid samples, including the reason; empty if there are none."""
    seen = _read(dataset, splits, seconds)
    problems = [bad.problem for bad in seen.all_invalid]
    if reason and reason not in problems:  # not reached in time, or readable by now
        problems.insert(0, reason)
    if not problems:
        return ""
    total = sum(len(samples) for samples in splits.values())
    read = sum(seen.checked(split) for split in splits)
    in_time = "" if read == total else f" ({read:,} were read in {seconds:.0f} s)"
    headline = (
        f"{len(problems)} of {total:,} samples cannot be used{in_time}; fix them, or leave them out with "
        f"on_bad_sample=skip{_hint(dataset, problems)}:"
    )
    return list_problems(headline, problems)


def _read(dataset: Dataset, splits: Mapping[str, Sequence[Sample]], seconds: float) -> ScanResult:
    seen = scan_samples(splits, seconds=seconds, bands=dataset.bands)
    unknown_values = find_unknown_values(seen.mask_values(), dataset.classes, dataset.ignore_value)
    seen.mark_invalid({mask: values_problem(mask, values) for mask, values in unknown_values})
    return seen


def _hint(dataset: Dataset, problems: Sequence[str]) -> str:
    """What to do about unknown values: they may be classes that the masks read before training do not show."""
    if not any(NO_CLASS in problem for problem in problems):
        return ""
    known = ", ".join(str(entry.value) for entry in dataset.classes)
    ignored = "" if dataset.ignore_value is None else f", ignored is {dataset.ignore_value}"
    total = sum(len(samples) for samples in dataset.splits.values())
    return (
        f". The classes are {known}{ignored}. If one is missing, set num_classes, or read all masks before "
        f"training with checked_pictures={total}; ignore_index names a value to ignore"
    )
