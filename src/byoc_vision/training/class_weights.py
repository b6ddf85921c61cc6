"""The weight of each class in the loss, so that rare ones are not learned last."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence

from byoc_vision.data.preflight import CheckedDataset, MaskCounts, count_masks, mask_classes
from byoc_vision.data.preflight.report import ClassReport
from byoc_vision.data.samples import Dataset
from byoc_vision.errors import DataError, InputError, list_problems
from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.launch.distributed import World, on_hosts, processes_per_host
from byoc_vision.training.data_partition import DataPartition

BY_COUNT = ("balanced", "sqrt", "effective")  # the settings whose weights follow from the data

_FEW_MASKS = 10  # with the class: its share, and so its weight, is a guess
_LEAST_PRESENCE = 0.1  # of a class that nearly every image has
MOST_MASKS = 200_000  # read for the weights: minutes, not hours

logger = logging.getLogger(__name__)


def find_class_weights(
    hyperparameters: Hyperparameters, checked: CheckedDataset, partition: DataPartition, world: World
) -> tuple[float, ...] | None:
    """The weight of each class, see `class_weights`. Call it in all processes. Raises as the functions below do."""
    counted, masks_read = count_training_masks(hyperparameters, checked, partition, world)
    return class_weights(hyperparameters, checked.dataset, counted, masks_read)


def count_training_masks(
    hyperparameters: Hyperparameters, checked: CheckedDataset, partition: DataPartition, world: World
) -> tuple[list[ClassReport], int]:
    """The classes as the training masks show them, and how many masks these are. Call it in all processes.

    If the weights need it, the masks that the check of the data did not read are read now: each host reads its part, of
    very many an even selection, the same in each run.

    Raises:
        DataError: names masks that cannot be read.
    """
    report = checked.report
    total, read = len(checked.dataset.train), report.checked["train"]
    is_needed = hyperparameters.class_weights in BY_COUNT and checked.dataset.task == "segmentation"
    if not is_needed or read >= min(total, MOST_MASKS):
        return report.classes, read
    started = time.monotonic()
    step = -(-total // MOST_MASKS)
    hosts = 1 if partition.is_sharded else world.size // processes_per_host()
    here = partition.dataset.train[step * (world.rank // processes_per_host() % hosts) :: step * hosts]
    logger.info("class_weights=%s: counting the classes in all training masks", hyperparameters.class_weights)
    counts = sum(on_hosts(world, lambda: count_masks(here)), MaskCounts())
    if counts.problems and hyperparameters.on_bad_sample == "fail":
        raise DataError(list_problems(f"{len(counts.problems)} of {total} masks cannot be read:", counts.problems))
    logger.info("Counted the classes in %d of %d masks (%.1f s)", counts.read, total, time.monotonic() - started)
    return mask_classes(
        checked.dataset.classes, {"train": counts.images}, counts.pixels
    ), total if step == 1 else counts.read


def class_weights(
    hyperparameters: Hyperparameters, dataset: Dataset, seen: Sequence[ClassReport], masks_read: int | None = None
) -> tuple[float, ...] | None:
    """A weight for each class, in the order of the classes; None if all count the same.

    balanced: total / (classes × count), over images, or over pixels in masks; with several labels to an image the
    ratio of the images without a class to those with it, as a weight of its presence, but not less than 0.1: a class
    that every image has would weigh nothing, and would not be learnt.
    sqrt: the square root of `balanced`: rare classes gain less, and frequent ones lose less.
    effective: (1 - beta) / (1 - beta^images), of mean 1 (Cui et al., "Class-Balanced Loss Based on Effective Number
    of Samples", 2019); in masks the images that show a class.
    A class that no training image shows has the weight 1.
    seen: the classes as they were counted, in masks_read of the training masks: None stands for all.
    Raises InputError if a list does not have one number for each class.
    """
    setting = hyperparameters.class_weights
    if setting == "none":
        return None
    if isinstance(setting, tuple):
        return _listed(setting, dataset)
    images = training_images(dataset, seen, masks_read)
    if dataset.task == "segmentation" and masks_read is not None and masks_read < len(dataset.train):
        _log_estimate(setting, dataset, seen, masks_read)
    if hyperparameters.sampling != "natural":
        logger.warning(
            "sampling=%s and class_weights=%s both make up for rare classes, which then count twice; "
            "leave one of them out",
            hyperparameters.sampling,
            setting,
        )
    if setting == "effective":
        return _effective(images, hyperparameters.effective_number_beta)
    if dataset.multi_label:
        weights = _balanced_presence(images, dataset)
    else:
        shares = [entry.pixel_share for entry in seen]
        known = [share for share in shares if share is not None]
        weights = _balanced(known if dataset.task == "segmentation" else images)
    return tuple(map(math.sqrt, weights)) if setting == "sqrt" else weights


def training_images(dataset: Dataset, seen: Sequence[ClassReport], masks_read: int | None = None) -> list[int]:
    """How many training images are of each class, or show it: estimated if not all masks were read."""
    if dataset.task == "segmentation":
        more = len(dataset.train) / masks_read if masks_read else 1.0
        return [round(more * entry.in_training) for entry in seen]
    counts = [0] * len(dataset.classes)
    for sample in dataset.train:
        for label in sample.labels if sample.labels is not None else (sample.label,):
            assert label is not None, "images to classify are labelled"
            counts[label] += 1
    return counts


def _log_estimate(setting: str, dataset: Dataset, seen: Sequence[ClassReport], masks_read: int) -> None:
    total = len(dataset.train)
    logger.info(
        "class_weights=%s: estimated from %d of %d training masks",
        setting,
        masks_read,
        total,
    )
    rare = [entry for entry in seen if entry.in_training < _FEW_MASKS]
    if rare:
        logger.warning(
            "class_weights=%s: the weights of %s may be far off: so few of the %d masks read show them. "
            "Give the weights as a list",
            setting,
            ", ".join(f"{entry.name} ({entry.in_training} masks)" for entry in rare),
            masks_read,
        )


def _listed(weights: tuple[float, ...], dataset: Dataset) -> tuple[float, ...]:
    if len(weights) != len(dataset.classes):
        raise InputError(
            f"class_weights has {len(weights)} numbers, but there are {len(dataset.classes)} classes; give one for "
            f"each, in this order: {', '.join(dataset.class_names)}"
        )
    if not any(weights):
        raise InputError("class_weights are all 0: nothing would be learned; give the classes that count a weight")
    return weights


def _balanced(counts: Sequence[float]) -> tuple[float, ...]:
    total, seen = sum(counts), sum(count > 0 for count in counts)
    return tuple(total / (seen * count) if count else 1.0 for count in counts)


def _balanced_presence(images: Sequence[int], dataset: Dataset) -> tuple[float, ...]:
    total = len(dataset.train)
    weights = [(total - count) / count if count else 1.0 for count in images]
    frequent = [name for name, weight in zip(dataset.class_names, weights, strict=True) if weight < _LEAST_PRESENCE]
    if frequent:
        logger.warning(
            "class_weights: nearly every image has %s; its balanced weight is %g and not less, so that it is learnt",
            ", ".join(frequent),
            _LEAST_PRESENCE,
        )
    return tuple(max(weight, _LEAST_PRESENCE) for weight in weights)


def _effective(counts: Sequence[int], beta: float) -> tuple[float, ...]:
    weights = [(1 - beta) / (1 - beta**count) if count else 0.0 for count in counts]
    mean = sum(weights) / sum(count > 0 for count in counts)
    return tuple(weight / mean if weight else 1.0 for weight in weights)
