"""The check from the samples to the verdict."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from byoc_vision.data.formats import find_dataset
from byoc_vision.data.preflight.duplicates import Hashed, find_duplicates, hash_lookalikes
from byoc_vision.data.preflight.report import Duplicates, PreflightReport, Range, summary, write_refusal, write_report
from byoc_vision.data.preflight.scan import Facts, Survey, survey
from byoc_vision.data.preflight.statistics import (
    count_classes,
    measure_channels,
    measure_coverage,
    measure_ignored,
    measure_tones,
)
from byoc_vision.data.preflight.subsample import Sizes, measure_sizes, select, with_empty
from byoc_vision.data.preflight.validation import (
    compare_counts,
    refuse_faults,
    refuse_losses,
    with_classes,
    without,
)
from byoc_vision.data.preflight.warnings import advise
from byoc_vision.data.samples import DataOptions, Dataset, Sample
from byoc_vision.errors import DataError, ResourceError, UserError, list_problems
from byoc_vision.types import ClassInfo, Task

logger = logging.getLogger(__name__)

MOST_REPORTED = 1000  # bad samples by name in the JSON file

Size = tuple[int, int]


class Checked(NamedTuple):
    """The dataset with its classes and its ignored value filled in, without bad samples; and what was seen of it."""

    dataset: Dataset
    report: PreflightReport


def find_and_check(
    channels: Mapping[str, Path],
    options: DataOptions,
    *,
    input_sizes: Mapping[Task, Size] | None = None,
    balanced: bool = False,
    report_file: Path | None = None,
) -> Checked:
    """Find the samples that the channels hold and read them, as `find_dataset` and `inspect` do.

    input_sizes: the model's input by task, height and width in pixels.
    report_file: where the report is written as JSON, also where the data are refused; then errors are in it.
    Raises UserError for data that cannot even be listed, ResourceError where the report cannot be written. What reading
    the files found wrong is in the report's `errors`.
    """
    with refusals_reported(report_file):
        dataset = find_dataset(channels, options)
        return check_found(dataset, options, input_sizes=input_sizes, balanced=balanced, report_file=report_file)


def check_found(
    dataset: Dataset,
    options: DataOptions,
    *,
    input_sizes: Mapping[Task, Size] | None = None,
    balanced: bool = False,
    report_file: Path | None = None,
    seen: Survey | None = None,
) -> Checked:
    """The second half of `find_and_check`. seen: what reading the samples came to, where that was done before."""
    input_size = input_sizes.get(dataset.task) if input_sizes else None
    checked = inspect(dataset, options, input_size=input_size, balanced=balanced, seen=seen)
    if report_file:
        try:
            write_report(report_file, checked.report)
        except OSError as error:
            problem = f"{report_file} cannot be written: {error.strerror or error}; make the folder writable"
            raise ResourceError(problem) from error
    return checked


@contextlib.contextmanager
def refusals_reported(report_file: Path | None) -> Iterator[None]:
    """Data that are refused before there is a report: the file then says why."""
    try:
        yield
    except UserError as error:
        if report_file:
            with contextlib.suppress(OSError):  # the refusal is what matters
                write_refusal(report_file, error)
        raise


def read_part(dataset: Dataset, options: DataOptions, is_here: Callable[[Sample], bool]) -> Survey:
    """What reading those samples comes to that lie here, of all that are to be read."""
    selected = select(dataset.splits, options.checked_pictures, options.seed)
    return survey({split: [sample for sample in samples if is_here(sample)] for split, samples in selected.items()})


def check(dataset: Dataset, options: DataOptions, *, workers: int | None = None) -> Checked:
    """Read the samples as `inspect` does, and let the log tell what was seen.

    Raises DataError that names every unreadable image and every mask that does not fit, InputError where
    `options.num_classes` contradicts the data.
    """
    checked = inspect(dataset, options, workers=workers)
    log_and_judge(checked.report)
    return checked


def log_and_judge(report: PreflightReport) -> None:
    """The report into the log. Raises DataError with its errors, where it has any."""
    if report.errors:
        raise DataError("\n".join(report.errors))
    for line in summary(report):
        logger.info(line)
    for warning in report.warnings:
        logger.warning(warning)


def inspect(
    dataset: Dataset,
    options: DataOptions,
    *,
    workers: int | None = None,
    input_size: Size | None = None,
    balanced: bool = False,
    seen: Survey | None = None,
) -> Checked:
    """Read images and masks, in parallel; find the classes of a segmentation; leave out or report bad samples.

    Files that are missing or empty are found, and copies of images as far as is cheap, also where a part of the
    samples is read. Where a part within `options.checking_budget` would be refused, all are read: so that all bad
    samples are named, and no class is thought missing that others show. So are all masks that alone tell the classes,
    where these are more than two: one that is rare may be in none of a part's masks.

    workers: threads; the processor's cores by default.
    input_size: the model's, height and width in pixels.
    balanced: the job weighs or draws its classes already, and need not be told to.
    seen: what reading the samples came to, where that was done before, on the hosts where they lie.
    Raises InputError where `options.num_classes` contradicts the data. Whatever else is wrong is in `report.errors`;
    then the dataset is of no use.
    """
    compare_counts(dataset, options)
    started = time.perf_counter()
    budget = options.checking_budget if options.checked_pictures is None and seen is None else None
    sizes = measure_sizes(dataset.splits) if seen is None else {}
    chosen = select(dataset.splits, options.checked_pictures, options.seed, sizes=sizes, budget=budget)
    seen = seen or survey(with_empty(chosen, dataset.splits, sizes), workers)
    skip = options.on_bad_sample == "skip"
    found, class_errors = with_classes(dataset, seen, options)
    used = without(found, {fault.sample for fault in seen.all_faults}) if skip else found
    errors = [*(refuse_losses(dataset, used, seen, chosen) if skip else refuse_faults(seen)), *class_errors]
    if budget is not None and (errors or _may_lack_classes(dataset, found, seen, options)):
        whole = replace(options, checking_budget=None)
        return inspect(dataset, whole, workers=workers, input_size=input_size, balanced=balanced)
    duplicates = _duplicates(dataset, seen, sizes)
    report = _report(used, dataset, seen, duplicates, errors, skip=skip, input_size=input_size)
    warnings = advise(report, dataset, options, balanced=balanced)
    seconds = round(time.perf_counter() - started, 3)
    return Checked(used, replace(report, warnings=warnings, seconds=seconds))


def check_labelled(samples: Sequence[Sample], classes: Sequence[ClassInfo], *, workers: int | None = None) -> None:
    """Decode images that a trained model is to be measured on, and their masks.

    Mask values that are none of the model's classes are not counted in its figures; a line in the log names them.
    Raises DataError as `check` does.
    """
    seen = survey({"test": samples}, workers)
    if seen.all_faults:
        headline = f"{len(seen.all_faults)} of {len(samples)} samples cannot be used:"
        raise DataError(list_problems(headline, [fault.problem for fault in seen.all_faults]))
    if others := sorted(set(seen.mask_values().of()) - {entry.value for entry in classes}):
        logger.warning("mask values that are no class of the model are not counted: %s", ", ".join(map(str, others)))


def _may_lack_classes(dataset: Dataset, found: Dataset, seen: Survey, options: DataOptions) -> bool:
    told = bool(dataset.classes) or options.num_classes is not None
    is_part = any(seen.checked(split) < len(samples) for split, samples in dataset.splits.items())
    return dataset.task == "segmentation" and not told and is_part and len(found.classes) > 2


def _duplicates(dataset: Dataset, seen: Survey, sizes: Mapping[str, Sequence[Sizes]]) -> Duplicates:
    if not sizes:
        return find_duplicates(seen.facts)
    lookalikes = hash_lookalikes(dataset.splits, sizes, seen)
    known: dict[str, list[Facts | Hashed]] = {
        split: [*facts, *lookalikes.hashed[split]] for split, facts in seen.facts.items()
    }
    return replace(find_duplicates(known), uncompared=lookalikes.left)


def _report(
    used: Dataset,
    found: Dataset,
    seen: Survey,
    duplicates: Duplicates,
    errors: list[str],
    *,
    skip: bool,
    input_size: Size | None,
) -> PreflightReport:
    facts, train = seen.all_facts, seen.facts.get("train", [])
    bad = [fault.problem for fault in seen.all_faults]
    return PreflightReport(
        task=used.task,
        samples={split: len(samples) for split, samples in found.splits.items()},
        checked={split: seen.checked(split) for split in found.splits},
        classes=count_classes(used, seen.facts),
        ignore_value=used.ignore_value,
        ignored_share=measure_ignored(used.ignore_value, train),
        height=Range.of([one.height for one in facts]) if facts else None,
        width=Range.of([one.width for one in facts]) if facts else None,
        input_size=input_size,
        smaller=sum(one.height < input_size[0] or one.width < input_size[1] for one in facts) if input_size else None,
        channels=measure_channels(train),
        tones=measure_tones(train),
        coverage=measure_coverage(used, train),
        duplicates=duplicates,
        unlabelled=sum(not sample.labels for sample in used.train) if used.multi_label else None,
        bad=bad[:MOST_REPORTED],
        bad_count=len(bad),
        skipped=skip,
        warnings=[],
        errors=errors,
        seconds=0.0,
    )
