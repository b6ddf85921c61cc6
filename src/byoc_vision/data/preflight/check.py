"""The check of a data set, from its samples to the report."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from byoc_vision.data.decoding import MAX_PIXELS
from byoc_vision.data.formats import find_dataset
from byoc_vision.data.preflight.colour_masks import check_palettes, find_colours
from byoc_vision.data.preflight.duplicates import Hashed, find_duplicates, hash_same_size
from byoc_vision.data.preflight.report import Duplicates, PreflightReport, Range, summary, write_refusal, write_report
from byoc_vision.data.preflight.scan import SampleStats, ScanResult, scan_samples
from byoc_vision.data.preflight.soft_masks import (
    apply_map,
    find_soft_masks,
    map_samples,
    map_scan,
    warn_about_soft_masks,
)
from byoc_vision.data.preflight.statistics import (
    count_classes,
    measure_channels,
    measure_coverage,
    measure_ignored,
    measure_tones,
)
from byoc_vision.data.preflight.subsample import Sizes, choose_samples, measure_sizes, with_empty_files
from byoc_vision.data.preflight.validation import (
    check_class_count,
    drop_samples,
    invalid_errors,
    resolve_classes,
    skip_errors,
)
from byoc_vision.data.preflight.warnings import find_warnings, warn_about_object_numbers, warn_about_orientation
from byoc_vision.data.samples import DataOptions, Dataset, Sample
from byoc_vision.errors import DataError, ResourceError, UserError
from byoc_vision.preprocess import IGNORED
from byoc_vision.types import Task

logger = logging.getLogger(__name__)

MOST_REPORTED = 1000  # bad samples by name in the JSON file

Size = tuple[int, int]


class CheckedDataset(NamedTuple):
    """The dataset with its classes and its ignored value, without invalid samples; and the report."""

    dataset: Dataset
    report: PreflightReport


def find_and_check(
    channels: Mapping[str, Path],
    options: DataOptions,
    *,
    input_sizes: Mapping[Task, Size] | None = None,
    balanced: bool = False,
    report_file: Path | None = None,
    report_optional: bool = False,
) -> CheckedDataset:
    """Find the samples in the channels and check them, as `find_dataset` and `inspect` do.

    Args:
        input_sizes: the model's input by task, height and width in pixels.
        balanced: as for `inspect`.
        report_file: the report is written here as JSON, also if the data are refused.
        report_optional: whether a report that cannot be written costs a warning only.

    Raises:
        UserError: the data cannot be listed. Errors found in the files are in the report's `errors` instead.
        ResourceError: the report cannot be written.
    """
    with report_refusals(report_file):
        dataset = find_dataset(channels, options)
        return check_dataset(
            dataset,
            options,
            input_sizes=input_sizes,
            balanced=balanced,
            report_file=report_file,
            report_optional=report_optional,
        )


def check_dataset(
    dataset: Dataset,
    options: DataOptions,
    *,
    input_sizes: Mapping[Task, Size] | None = None,
    balanced: bool = False,
    report_file: Path | None = None,
    report_optional: bool = False,
    seen: ScanResult | None = None,
) -> CheckedDataset:
    """Check a dataset that was found before, as `find_and_check` does.

    seen: the result of reading the samples, if they were read before.
    """
    input_size = input_sizes.get(dataset.task) if input_sizes else None
    checked = inspect(dataset, options, input_size=input_size, balanced=balanced, seen=seen)
    if report_file:
        try:
            write_report(report_file, checked.report)
        except OSError as error:
            said = f"{report_file} cannot be written: {error.strerror or error}; make the folder writable"
            if not report_optional:
                raise ResourceError(said) from error
            logger.warning(said)
    return checked


@contextlib.contextmanager
def report_refusals(report_file: Path | None) -> Iterator[None]:
    """Write the reason to the report file if data are refused before there is a report."""
    try:
        yield
    except UserError as error:
        if report_file:
            with contextlib.suppress(OSError):  # the error itself matters more
                write_refusal(report_file, error)
        raise


def scan_part(dataset: Dataset, options: DataOptions, is_here: Callable[[Sample], bool]) -> ScanResult:
    """Read those of the chosen samples that this host has."""
    selected = choose_samples(dataset.splits, options.checked_pictures, options.seed)
    return scan_samples(
        {split: [sample for sample in samples if is_here(sample)] for split, samples in selected.items()},
        bands=dataset.bands,
    )


def check(
    dataset: Dataset, options: DataOptions, *, workers: int | None = None, max_pixels: int = MAX_PIXELS
) -> CheckedDataset:
    """Check the samples as `inspect` does, and log the report.

    Raises:
        DataError: names every unreadable image and every mask that does not fit.
        InputError: `options.num_classes` contradicts the data.
    """
    checked = inspect(dataset, options, workers=workers, max_pixels=max_pixels)
    log_or_raise(checked.report)
    return checked


def log_or_raise(report: PreflightReport) -> None:
    """Log the report. Raises DataError with its errors, if it has any."""
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
    seen: ScanResult | None = None,
    max_pixels: int = MAX_PIXELS,
) -> CheckedDataset:
    """Read images and masks in parallel, find the classes of a segmentation, leave out or report invalid samples.

    Missing and empty files are always found, and duplicate images as far as that is cheap, even if only a part of the
    samples is read. If a part within `options.checking_budget` has errors, all samples are read, so that every invalid
    sample is named and no class counts as missing that others show. The same holds for a segmentation with more than
    two classes that only the masks tell: a rare class may be missing from a part of the masks.

    Args:
        workers: threads; by default the cores of this machine.
        input_size: of the model, height and width in pixels.
        balanced: the job weights or samples its classes already, so that no warning suggests it.
        seen: the result of reading the samples, if they were read before on the hosts that have them.
        max_pixels: of an image, as for `read_image`.

    Returns:
        The dataset and the report. If `report.errors` is not empty, the dataset must not be used.

    Raises:
        InputError: `options.num_classes` contradicts the data.
    """
    check_class_count(dataset, options)
    started = time.perf_counter()
    budget = options.checking_budget if options.checked_pictures is None and seen is None else None
    sizes = measure_sizes(dataset.splits) if seen is None else {}
    chosen = choose_samples(dataset.splits, options.checked_pictures, options.seed, sizes=sizes, budget=budget)
    seen = seen or scan_samples(
        with_empty_files(chosen, dataset.splits, sizes), workers, bands=dataset.bands, max_pixels=max_pixels
    )
    skip = options.skips
    given = found = dataset
    try:
        if colours := find_colours(dataset, seen):
            table = colours.colour_map
            dataset, chosen, seen = apply_map(dataset, table), map_samples(chosen, table), map_scan(seen, table)
            found = replace(dataset, classes=colours.classes, ignore_value=IGNORED)
            check_class_count(found, options)
        check_palettes(dataset, seen, options)
        if colours is None and (soft := find_soft_masks(dataset, seen, options)):
            dataset, chosen, seen = apply_map(dataset, soft), map_samples(chosen, soft), map_scan(seen, soft)
            found = dataset
        found, class_errors = resolve_classes(found, seen, options)
    except DataError as error:
        class_errors = [str(error)]
    used = drop_samples(found, {bad.sample for bad in seen.all_invalid}) if skip else found
    errors = [*(skip_errors(dataset, used, seen, chosen) if skip else invalid_errors(seen)), *class_errors]
    if budget is not None and (errors or _may_lack_classes(dataset, found, seen, options)):
        whole = replace(options, checking_budget=None)
        return inspect(given, whole, workers=workers, input_size=input_size, balanced=balanced, max_pixels=max_pixels)
    duplicates = _duplicates(dataset, seen, sizes)
    report = _report(used, dataset, seen, duplicates, errors, skip=skip, input_size=input_size)
    warnings = [
        *warn_about_soft_masks(used),
        *warn_about_object_numbers(dataset, seen),
        *warn_about_orientation(seen),
        *find_warnings(report, dataset, options, balanced=balanced),
    ]
    seconds = round(time.perf_counter() - started, 3)
    return CheckedDataset(used, replace(report, warnings=warnings, seconds=seconds))


def _may_lack_classes(dataset: Dataset, found: Dataset, seen: ScanResult, options: DataOptions) -> bool:
    classes_are_known = bool(dataset.classes) or options.num_classes is not None
    is_part = any(seen.checked(split) < len(samples) for split, samples in dataset.splits.items())
    return dataset.task == "segmentation" and not classes_are_known and is_part and len(found.classes) > 2


def _duplicates(dataset: Dataset, seen: ScanResult, sizes: Mapping[str, Sequence[Sizes]]) -> Duplicates:
    if not sizes:
        return find_duplicates(seen.stats)
    same_size = hash_same_size(dataset.splits, sizes, seen)
    known: dict[str, list[SampleStats | Hashed]] = {
        split: [*stats, *same_size.hashed[split]] for split, stats in seen.stats.items()
    }
    return replace(find_duplicates(known), uncompared=same_size.skipped)


def _report(
    used: Dataset,
    found: Dataset,
    seen: ScanResult,
    duplicates: Duplicates,
    errors: list[str],
    *,
    skip: bool,
    input_size: Size | None,
) -> PreflightReport:
    stats, train = seen.all_stats, seen.stats.get("train", [])
    bad = [bad.problem for bad in seen.all_invalid]
    return PreflightReport(
        task=used.task,
        samples={split: len(samples) for split, samples in found.splits.items()},
        checked={split: seen.checked(split) for split in found.splits},
        classes=count_classes(used, seen.stats),
        ignore_value=used.ignore_value,
        ignored_share=measure_ignored(used.ignore_value, train),
        height=Range.of([one.height for one in stats]) if stats else None,
        width=Range.of([one.width for one in stats]) if stats else None,
        input_size=input_size,
        smaller=sum(one.height < input_size[0] or one.width < input_size[1] for one in stats) if input_size else None,
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
