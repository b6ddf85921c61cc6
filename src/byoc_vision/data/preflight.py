"""Every picture and mask is decoded once before training, so that bad data end a job at once and by name."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple, TypeVar

import cv2
import numpy as np
from tqdm import tqdm

from byoc_vision.data.decoding import read_picture
from byoc_vision.data.mask_values import MaskValues, check_classes, infer_classes
from byoc_vision.data.preflight_report import ClassReport, PreflightReport, Range
from byoc_vision.data.samples import DataClass, DataOptions, Dataset, Sample
from byoc_vision.data.truths import read_mask_values
from byoc_vision.data.workers import available_cores
from byoc_vision.errors import DataError, InputError, list_problems

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


class Checked(NamedTuple):
    """The dataset with its classes and its ignored value filled in, and what was seen of it."""

    dataset: Dataset
    report: PreflightReport


class _Facts(NamedTuple):
    """What is kept of a picture. `histogram`: pixels of its mask by value, int64 [256]."""

    sample: Sample
    height: int = 0
    width: int = 0
    histogram: np.ndarray | None = None
    problem: str | None = None


def check(dataset: Dataset, options: DataOptions, *, workers: int | None = None) -> Checked:
    """Decode all pictures and masks, in parallel; find the classes of a segmentation.

    workers: threads (decoders let go of the interpreter's lock); the processor's cores by default.
    Raises DataError that names every unreadable picture and every mask that does not fit, InputError where
    `options.num_classes` contradicts the class folders.
    """
    _compare_counts(dataset, options)
    started = time.perf_counter()
    survey = _survey(dataset.splits, workers)
    complaints = survey.complaints()
    if dataset.task == "segmentation" and survey.values.masks("train"):
        try:
            dataset = _with_classes(dataset, survey.values, options)
        except DataError as error:
            complaints.append(str(error))
    if complaints:
        raise DataError("\n".join(complaints))
    report = survey.report(dataset, time.perf_counter() - started)
    for line in report.lines():
        logger.info(line)
    return Checked(dataset, report)


def _with_classes(dataset: Dataset, values: MaskValues, options: DataOptions) -> Dataset:
    """The classes that the layout names, checked; else those that the masks hold."""
    if dataset.classes:
        check_classes(values, dataset.classes, dataset.ignore_value)
        return dataset
    classes, ignore_value = infer_classes(values, options)
    return replace(dataset, classes=classes, ignore_value=ignore_value)


def check_labelled(samples: Sequence[Sample], classes: Sequence[DataClass], *, workers: int | None = None) -> None:
    """Decode pictures that a trained model is to be measured on, and their masks.

    Mask values that are none of the model's classes are not counted in its figures; a line in the log names them.
    Raises DataError as `check` does.
    """
    survey = _survey({"test": samples}, workers)
    if complaints := survey.complaints():
        raise DataError("\n".join(complaints))
    if others := sorted(set(survey.values.of()) - {entry.value for entry in classes}):
        logger.warning("mask values that are no class of the model are not counted: %s", ", ".join(map(str, others)))


def _survey(splits: Mapping[str, Sequence[Sample]], workers: int | None) -> _Survey:
    survey = _Survey()
    total = sum(len(samples) for samples in splits.values())
    threads = workers or available_cores()
    with (
        ThreadPoolExecutor(threads, thread_name_prefix="preflight") as pool,
        tqdm(total=total, desc="checking pictures", unit="", disable=None, leave=False) as progress,
    ):
        for split, samples in splits.items():
            for facts in _in_order(pool, _examine, samples, ahead=4 * threads):
                survey.add(split, facts)
                progress.update()
    return survey


class _Survey:
    """What was seen so far: sums, and the values of each mask; no pixels."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.values = MaskValues()
        self.heights: list[int] = []
        self.widths: list[int] = []
        self.pixels = np.zeros(256, np.int64)
        self.pictures: dict[str, Counter[int]] = {}  # by split and class (its label or mask value)

    def add(self, split: str, facts: _Facts) -> None:
        if facts.problem:
            self.problems.append(facts.problem)
            return
        self.heights.append(facts.height)
        self.widths.append(facts.width)
        counts = self.pictures.setdefault(split, Counter())
        if facts.histogram is not None and facts.sample.mask is not None:
            held = tuple(np.flatnonzero(facts.histogram).tolist())
            self.values.add(split, facts.sample.mask, held)
            counts.update(held)
            if split == "train":
                self.pixels += facts.histogram
        elif facts.sample.label is not None:
            counts[facts.sample.label] += 1

    def complaints(self) -> list[str]:
        """One message that names every sample that cannot be used, or none."""
        total = len(self.problems) + len(self.heights)
        headline = f"{len(self.problems)} of {total} samples cannot be used:"
        return [list_problems(headline, self.problems)] if self.problems else []

    def report(self, dataset: Dataset, seconds: float) -> PreflightReport:
        total = sum(int(self.pixels[entry.value]) for entry in dataset.classes if entry.value is not None)
        return PreflightReport(
            task=dataset.task,
            samples={split: len(samples) for split, samples in dataset.splits.items()},
            classes=[self._class_report(index, entry, total) for index, entry in enumerate(dataset.classes)],
            height=Range.of(self.heights),
            width=Range.of(self.widths),
            seconds=round(seconds, 3),
        )

    def _class_report(self, index: int, entry: DataClass, total: int) -> ClassReport:
        at = index if entry.value is None else entry.value
        pictures = {split: counts[at] for split, counts in self.pictures.items()}
        share = None if entry.value is None else round(int(self.pixels[entry.value]) / max(total, 1), 6)
        return ClassReport(entry.name, entry.value, pictures, share)


def _examine(sample: Sample) -> _Facts:
    try:
        height, width = read_picture(sample.image).shape[:2]
        if sample.mask is None:
            return _Facts(sample, height, width)
        mask = read_mask_values(sample)
    except DataError as error:
        return _Facts(sample, problem=str(error))
    if mask.shape != (height, width):
        return _Facts(sample, problem=_size_problem(sample, (height, width), mask.shape))
    histogram = cv2.calcHist([mask], [0], None, [256], [0, 256]).ravel().astype(np.int64)
    return _Facts(sample, height, width, histogram)


def _size_problem(sample: Sample, picture: tuple[int, int], mask: tuple[int, ...]) -> str:
    text = (
        f"{sample.mask} has {mask[1]} × {mask[0]} pixels, "
        f"its picture {sample.image.name} has {picture[1]} × {picture[0]}"
    )
    if mask == picture[::-1] and picture[0] != picture[1]:
        return text + "; the picture is perhaps turned by its EXIF orientation: draw the mask over the upright picture"
    return text


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """Like `pool.map`, with no more than `ahead` items under way."""
    pending: deque[Future[Result]] = deque()
    for item in items:
        pending.append(pool.submit(work, item))
        if len(pending) >= ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _compare_counts(dataset: Dataset, options: DataOptions) -> None:
    if options.num_training_samples not in (None, len(dataset.train)):
        logger.warning(
            "num_training_samples is %d, found and used are %d", options.num_training_samples, len(dataset.train)
        )
    if dataset.task == "classification" and options.num_classes not in (None, len(dataset.classes)):
        raise InputError(
            f"num_classes is {options.num_classes}, but there are {len(dataset.classes)} class folders "
            f"({', '.join(dataset.class_names)}); leave num_classes out or mend the folders"
        )
