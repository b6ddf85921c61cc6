"""The masks of a labelled folder, beside the classes of a trained model: the same values, or others for the same."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from byoc_vision.data.preflight.scan import MaskValues, ScanResult, scan_samples
from byoc_vision.data.preflight.soft_masks import find_soft_masks, map_scan, warn_about_soft_masks
from byoc_vision.data.preflight.validation import check_one_foreground
from byoc_vision.data.samples import ColourMap, DataOptions, Dataset, DrawnMask, MaskMap, Sample
from byoc_vision.errors import DataError, InputError, few, list_problems
from byoc_vision.preprocess import IGNORED, Band
from byoc_vision.types import ClassInfo

_USUAL_FOREGROUND = {1, 255}  # of 1-bit files and class indices, and of 8-bit files

logger = logging.getLogger(__name__)


def check_labelled(
    samples: Sequence[Sample],
    classes: Sequence[ClassInfo],
    *,
    ignore_index: int | None = None,
    workers: int | None = None,
    bands: Sequence[Band] = (),
) -> tuple[Sample, ...]:
    """The samples on which a trained model can be measured, after all of them were decoded.

    If a model of two classes finds one other foreground value, 1 or 255, in the masks, that value is read as the
    foreground. Masks with soft edges are read as training reads them. 255, and one value above all classes or 0, may
    occur beside the classes and do not count.

    Args:
        samples: all with masks, or all with labels.
        classes: of the model.
        ignore_index: a value in the masks that does not count.
        bands: of the model's images, if they are not RGB.

    Raises:
        DataError: names files that cannot be used, and values in masks that are not classes of the model.
        InputError: `ignore_index` is a class of the model.
    """
    if ignore_index is not None and ignore_index in {entry.value for entry in classes}:
        raise InputError(f"ignore_index={ignore_index} is a class of the model; leave it out")
    seen = scan_samples({"train": samples}, workers, bands=bands)
    if seen.all_invalid:
        headline = f"{len(seen.all_invalid)} of {len(samples)} samples cannot be used:"
        raise DataError(list_problems(headline, [bad.problem for bad in seen.all_invalid]))
    if not seen.mask_values().masks():
        return tuple(samples)
    options = DataOptions(ignore_index=ignore_index, num_classes=len(classes))
    dataset = Dataset("segmentation", (), tuple(samples), ())
    label_of: dict[int, int] = {}
    if soft := find_soft_masks(dataset, seen, options):
        label_of, seen = dict(soft.values), map_scan(seen, soft)
        for warning in warn_about_soft_masks(Dataset("segmentation", (), (seen.stats["train"][0].sample,), ())):
            logger.warning(warning)
    if foreground := _other_foreground(seen.mask_values(), classes, ignore_index):
        found, meant = foreground
        logger.warning(
            "masks mark the foreground with %d, the model's with %d: %d is read as %d", found, meant, *foreground
        )
        return tuple(_with_labels(sample, label_of, {found: meant}) for sample in samples)
    _check_values(seen, classes, ignore_index)
    return tuple(_with_labels(sample, label_of, {}) for sample in samples) if label_of else tuple(samples)


def _other_foreground(
    values: MaskValues, classes: Sequence[ClassInfo], ignore_index: int | None
) -> tuple[int, int] | None:
    """The foreground's value in the masks and the model's, if these differ and there is no doubt.

    Raises DataError if some masks use the model's and others the other one.
    """
    if len(classes) != 2 or classes[0].value != 0 or classes[1].value is None:
        return None
    meant, held = classes[1].value, set(values.of())
    if meant in _USUAL_FOREGROUND and ignore_index is None and held == {0, *_USUAL_FOREGROUND}:
        check_one_foreground(values, "--ignore-index 255")
    others = held - {0, ignore_index}
    is_certain = 0 in held and len(others) == 1 and meant not in held and others <= _USUAL_FOREGROUND
    return (others.pop(), meant) if is_certain else None


def _with_labels(sample: Sample, first: Mapping[int, int], then: Mapping[int, int]) -> Sample:
    """The sample whose mask is translated twice, after its own map."""

    def label(value: int) -> int:
        return then.get(first.get(value, value), first.get(value, value))

    mask, own = sample.mask, sample.mask_map
    if isinstance(mask, DrawnMask):
        drawn = replace(mask, values=bytes(map(label, mask.values)), background=label(mask.background))
        return replace(sample, mask=drawn)
    if isinstance(own, ColourMap):
        pairs = tuple((colour, label(value)) for colour, value in own.values)
        return replace(sample, mask_map=replace(own, values=pairs, rows=tuple(map(label, own.rows))))
    if own is None:
        own = MaskMap("the model's classes", tuple((value, value) for value in range(256)))
    return replace(sample, mask_map=replace(own, values=tuple((stored, label(value)) for stored, value in own.values)))


def _check_values(seen: ScanResult, classes: Sequence[ClassInfo], ignore_index: int | None) -> None:
    """Log which values do not count. Raises DataError if they may be classes under other values."""
    known = {entry.value for entry in classes}
    values = seen.mask_values()
    held = set(values.of())
    unknown = sorted(held - known - {ignore_index})
    if not unknown:
        return
    most = max(value for value in known if value is not None)
    void = [value for value in unknown if value != IGNORED]
    is_void = len(void) <= 1 and all(value == 0 or value > most for value in void)
    if not is_void or not (held & known) - {0} or _are_shifted(held - {ignore_index}, known):
        masks = [
            f"{mask}: {_shown(set(of) - known)}" for mask, of in values.masks() if set(of) - known - {ignore_index}
        ]
        raise DataError(
            list_problems(
                f"masks hold values that are not classes of the model ({_shown(known)}), and not only one to ignore; "
                "save the masks with the model's values, or name one value that does not count with --ignore-index:",
                masks,
            )
        )
    share = _share(seen, unknown)
    logger.warning(
        "mask values that are not classes of the model are ignored: %s (%.1f %% of the pixels)", _shown(unknown), share
    )


def _are_shifted(held: Iterable[int | None], known: set[int | None]) -> bool:
    """Whether the masks count from 1 what the model counts from 0, or the reverse."""
    values = {value for value in held if value is not None and value != IGNORED}
    return any({value + step for value in values} == known for step in (-1, 1))


def _share(seen: ScanResult, values: Sequence[int]) -> float:
    """Per cent of the pixels of all masks that hold these values."""
    counts = [one.counts for one in seen.all_stats]
    part = sum(count.get(value, 0) for count in counts for value in values)
    return 100 * part / sum(sum(count.values()) for count in counts)


def _shown(values: Iterable[int | None]) -> str:
    return few(sorted(value for value in values if value is not None), 6)
