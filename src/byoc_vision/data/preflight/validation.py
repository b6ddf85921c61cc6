"""What becomes of samples that cannot be used, and of classes that were declared otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from byoc_vision.data.preflight.mask_values import find_strangers, infer_classes, strangers_headline
from byoc_vision.data.preflight.scan import Survey
from byoc_vision.data.preflight.statistics import labels_of
from byoc_vision.data.samples import DataOptions, Dataset, Sample
from byoc_vision.errors import DataError, InputError, list_problems

_SHOWN_NAMES = 10


def compare_counts(dataset: Dataset, options: DataOptions) -> None:
    """Raises InputError where `num_classes` is not the number of classes that the data name.

    A segmentation's may count the ignored value too, as in the built-in algorithm.
    """
    declared, found = options.num_classes, len(dataset.classes)
    if declared is None or not found or declared == found:
        return
    if dataset.task == "segmentation" and dataset.ignore_value is not None and declared == found + 1:
        return
    raise InputError(
        f"num_classes is {declared}, but the data have {found} classes ({_few(dataset.class_names)}); leave "
        "num_classes out, or mend the data"
    )


def with_classes(dataset: Dataset, seen: Survey, options: DataOptions) -> tuple[Dataset, list[str]]:
    """The classes that the layout names, else those that the masks hold.

    Masks with other values are counted among the faults where these are left out; else an error names them.
    """
    values = seen.mask_values()
    if dataset.task != "segmentation" or not values.masks("train"):
        return dataset, []
    found = dataset
    if not dataset.classes:
        if dataset.ignore_value is not None:  # the layout knows better than the values seen
            options = replace(options, ignore_index=dataset.ignore_value)
        try:
            classes, ignore_value = infer_classes(values, options)
        except DataError as error:
            return dataset, [str(error)]
        found = replace(dataset, classes=classes, ignore_value=ignore_value)
    unknown_values = find_strangers(values, found.classes, found.ignore_value)
    if not unknown_values:
        return found, []
    if options.on_bad_sample == "skip":
        seen.mark_invalid({stranger.mask: f"{stranger}: no class has these values" for stranger in unknown_values})
        return found, []
    headline = strangers_headline(found.classes, found.ignore_value, options, inferred=not dataset.classes)
    return found, [list_problems(headline, map(str, unknown_values))]


def refuse_faults(seen: Survey) -> list[str]:
    """One message that names every sample that cannot be used, or none."""
    faults = seen.all_faults
    if not faults:
        return []
    headline = (
        f"{len(faults)} of {len(faults) + len(seen.all_facts)} samples cannot be used; mend them, or leave them out "
        "with on_bad_sample=skip:"
    )
    return [list_problems(headline, [fault.problem for fault in faults])]


def without(dataset: Dataset, bad: set[Sample]) -> Dataset:
    """The dataset with the bad samples left out."""
    if not bad:
        return dataset
    train, validation, test = (
        tuple(sample for sample in samples if sample not in bad)
        for samples in (dataset.train, dataset.validation, dataset.test)
    )
    return replace(dataset, train=train, validation=validation, test=test)


def refuse_losses(before: Dataset, after: Dataset, seen: Survey, drawn: Mapping[str, Sequence[Sample]]) -> list[str]:
    """Errors where so much is bad that leaving it out would hide a greater mistake.

    drawn: by split, the samples that stand for all. Beside them all empty files were seen, wherever they lie.
    """
    errors = []
    for split, samples in drawn.items():
        chosen = set(samples)
        faults = [fault for fault in seen.faults[split] if fault.sample in chosen]
        if 2 * len(faults) > len(samples) or split not in after.splits:
            headline = (
                f"{len(faults)} of {len(samples)} {split} samples cannot be used, too many to leave out "
                "(on_bad_sample=skip):"
            )
            errors.append(list_problems(headline, [fault.problem for fault in faults]))
    kept = {label for sample in after.train for label in labels_of(sample)}
    gone = {label for sample in before.train for label in labels_of(sample)} - kept
    if gone and not errors:
        names = [before.classes[label].name for label in sorted(gone)]
        problems = [fault.problem for fault in seen.faults["train"] if gone & set(labels_of(fault.sample))]
        headline = f"without its bad samples no training image is left of {_few(names)}; mend them or remove the class:"
        errors.append(list_problems(headline, problems))
    return errors


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN_NAMES]) + (", …" if len(names) > _SHOWN_NAMES else "")
