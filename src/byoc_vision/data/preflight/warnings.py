"""Warnings about unusual data, each with its remedy."""

from __future__ import annotations

from collections.abc import Iterator

from byoc_vision.data.preflight.report import Channels, ClassReport, PreflightReport
from byoc_vision.data.preflight.scan import ScanResult
from byoc_vision.data.samples import DataOptions, Dataset
from byoc_vision.errors import list_problems
from byoc_vision.preprocess import IMAGENET_MEAN, IMAGENET_STD

MOST_NAMED = 10
# If the largest class has more than ten times the images of the rarest, the model learns little of the rarest.
MOST_IMBALANCE = 10
LEAST_PIXEL_SHARE = 0.01
MOST_COVERAGE = 0.98
LEAST_COUNTS, MANY_OBJECTS = 3, 5  # different numbers of values, and values, of masks with the numbers of objects
MOST_IGNORED = 0.2
# In standard deviations of the normalisation. Cars in a white studio are 1.2 away from ImageNet's mean, and pretrained
# networks handle them well; inverted, black or washed-out images are more than 1.5 away.
MOST_DEVIATION = 1.5


def find_warnings(report: PreflightReport, dataset: Dataset, options: DataOptions, *, balanced: bool) -> list[str]:
    """All warnings. balanced: the job weights or samples its classes already."""
    warnings = [
        *_count(dataset, options),
        *_left_out(report),
        *_sampling(report, options, inferred=not dataset.classes),
        *_copies(report),
    ]
    warnings += [*_unseen(report), *_unvalidated(report), *_tones(report), *_sizes(report)]
    warnings += [*_ignored(report), *_coverage(report)]
    if not balanced:
        warnings += _imbalance(report, dataset)
    return warnings


def warn_about_orientation(seen: ScanResult) -> Iterator[str]:
    """Images that EXIF turns by 180° or mirrors, and square ones: their masks' sizes do not tell how they lie."""
    names = [str(one.sample.image) for one in seen.all_stats if one.is_turned_unclearly]
    if names:
        yield list_problems(
            f"{len(names):,} images are turned by EXIF so that the size of a mask does not tell whether it is of the "
            "upright image; masks are used as they are. If they are of the stored pixels, set mask_orientation=stored, "
            "otherwise mask_orientation=upright:",
            names,
            MOST_NAMED,
        )


def warn_about_object_numbers(dataset: Dataset, seen: ScanResult) -> Iterator[str]:
    """Masks that each hold 0, 1, 2, … up to another number: the numbers of objects, not of classes."""
    train = seen.stats.get("train", [])
    held = [one.mask.values for one in train if one.mask is not None and one.sample.mask_map is None]
    counts = {len(values) for values in held}
    if dataset.classes or len(counts) < LEAST_COUNTS or max(counts) < MANY_OBJECTS:
        return
    if all(values[-1] == len(values) - 1 for values in held):
        yield (
            f"each mask holds the values 0, 1, 2, … up to another number (up to {max(counts) - 1}), as if they were "
            "the numbers of objects, not of classes; if so, save 0 for the background and one value for each class"
        )


def _count(dataset: Dataset, options: DataOptions) -> Iterator[str]:
    if options.num_training_samples not in (None, len(dataset.train)):
        yield f"num_training_samples is {options.num_training_samples}, found and used: {len(dataset.train)}"


def _left_out(report: PreflightReport) -> Iterator[str]:
    if report.bad and report.skipped:
        yield list_problems(f"{report.bad_count:,} invalid samples are left out:", report.bad, MOST_NAMED)


def _sampling(report: PreflightReport, options: DataOptions, *, inferred: bool) -> Iterator[str]:
    if report.is_sampled and report.task == "segmentation" and inferred and options.num_classes is None:
        checked, total = sum(report.checked.values()), sum(report.samples.values())
        yield (
            f"the classes come from {checked:,} of {total:,} masks, so a rare one may be missing: set "
            "num_classes to the number of classes"
        )


def _copies(report: PreflightReport) -> Iterator[str]:
    pairs = report.duplicates.across
    if pairs:
        yield list_problems(
            f"{len(pairs):,} images are in two splits, byte for byte, so the metrics are too good; "
            "remove one of each pair:",
            [f"{one} = {other}" for one, other in pairs],
            MOST_NAMED,
        )
    pairs = report.duplicates.contradicting
    if pairs:
        yield list_problems(
            f"{len(pairs):,} images have different classes, byte for byte the same; keep the right one of each pair:",
            [f"{one} = {other}" for one, other in pairs],
            MOST_NAMED,
        )


def _unseen(report: PreflightReport) -> Iterator[str]:
    names = [_described(entry) for entry in report.classes if not entry.in_training]
    if not names:
        return
    if report.task == "segmentation" and report.is_sampled:
        yield (
            f"none of the {report.checked['train']:,} training masks read shows the classes {_few(names)}: if no other "
            "mask does, the model cannot learn them; add images of them, or remove the classes"
        )
        return
    yield (
        f"no training {'mask' if report.task == 'segmentation' else 'image'} shows the classes "
        f"{_few(names)}: the model cannot learn them; add images of them, or remove the classes"
    )


def _unvalidated(report: PreflightReport) -> Iterator[str]:
    missing = [entry for entry in report.classes if entry.in_training and entry.images.get("validation") == 0]
    if not missing:
        return
    names, checked = _few([_described(entry) for entry in missing]), report.checked["validation"]
    if report.task == "classification":
        shown = "no validation image shows"
    elif checked < report.samples["validation"]:
        shown = f"none of the {checked:,} validation masks read shows"
    else:
        shown = "no validation mask shows"
    yield (
        f"{shown} the classes {names}: no metric says whether the model finds them, and the best epoch is chosen "
        f"without them ({len(report.classes) - len(missing):,} of {len(report.classes):,} classes are validated); add "
        "validation images of them"
    )


def _imbalance(report: PreflightReport, dataset: Dataset) -> Iterator[str]:
    if report.task == "segmentation":
        rare = [entry for entry in report.classes if entry.pixel_share and entry.pixel_share < LEAST_PIXEL_SHARE]
        if rare:
            names = _few([f"{entry.name} ({entry.pixel_share:.2%})" for entry in rare])
            few = f"less than {LEAST_PIXEL_SHARE:.0%} of the pixels"
            yield f"classes with {few}: {names}; class_weights=balanced gives them more weight in the loss"
        return
    seen = sorted((entry for entry in report.classes if entry.in_training), key=lambda entry: entry.in_training)
    if seen and seen[-1].in_training > MOST_IMBALANCE * seen[0].in_training:
        remedy = "class_weights=balanced" + ("" if dataset.multi_label else " or sampling=balanced")
        yield (
            f"the classes are unbalanced: {seen[-1].name} has {seen[-1].in_training:,} training images, "
            f"{seen[0].name} {seen[0].in_training:,}; {remedy} compensates for that"
        )


def _ignored(report: PreflightReport) -> Iterator[str]:
    if report.ignored_share is not None and report.ignored_share > MOST_IGNORED:
        yield (
            f"{report.ignored_share:.0%} of the pixels in training masks have the ignored value {report.ignore_value}: "
            "no loss and no metric counts them. If it is a class, set ignore_index to a value that no mask holds, or "
            "save it with another value"
        )


def _coverage(report: PreflightReport) -> Iterator[str]:
    seen = report.coverage
    if seen is None:
        return
    if 2 * seen.empty > seen.masks:
        yield (
            f"{seen.empty:,} of {seen.masks:,} training masks show only background; check that they are the right "
            "ones, and leave out some of these images"
        )
    if seen.median > MOST_COVERAGE:
        yield (
            f"half of the training masks are more than {MOST_COVERAGE:.0%} foreground; check that foreground and "
            "background are not swapped: the smaller value is the background"
        )


def _tones(report: PreflightReport) -> Iterator[str]:
    tones = report.tones
    of_all = f"of {tones.images:,} training images"
    if 2 * tones.two_tone > tones.images:
        yield f"{tones.two_tone:,} {of_all} hold at most two values; check that they are not masks"
    elif 2 * tones.dark > tones.images:
        yield (
            f"{tones.dark:,} {of_all} are nearly black; of 16 bits the upper 8 are read: scale 12-bit images to the "
            "whole range, and check that none of them are masks"
        )
    elif 2 * tones.bright > tones.images:
        yield f"{tones.bright:,} {of_all} are nearly white; check that they were exported in their whole range"
    elif report.channels and len(report.channels.mean) == 3 and _is_far(report.channels):
        mean, usual = (" ".join(f"{value:.2f}" for value in values) for values in (report.channels.mean, IMAGENET_MEAN))
        yield (
            f"the training images' mean is {mean}, far from the {usual} that the normalisation expects; check that "
            "they are not inverted or washed out. If they are right, train the encoder too: freeze_epochs=0"
        )


def _is_far(channels: Channels) -> bool:
    return any(
        abs(mean - usual) > MOST_DEVIATION * std
        for mean, usual, std in zip(channels.mean, IMAGENET_MEAN, IMAGENET_STD, strict=True)
    )


def _sizes(report: PreflightReport) -> Iterator[str]:
    checked = sum(report.checked.values())
    if report.smaller and report.input_size and 2 * report.smaller > checked:
        height, width = report.input_size
        yield (
            f"{report.smaller:,} of {checked:,} images are smaller than the model's input, {width} × {height}, and "
            "are enlarged; a smaller image_size trains faster"
        )


def _described(entry: ClassReport) -> str:
    return entry.name if entry.value is None else f"{entry.name} (value {entry.value})"


def _few(names: list[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more:,} more" if more > 0 else "")
