"""The metrics in a job's log, as the regular expressions by which SageMaker finds them; and a reader of epochs.

`EpochRecord.line` and `metrics_line` in evaluation/epoch_record.py write what is read here. SageMaker takes at most 40
definitions of 500 characters each, and stores the group of each as a number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from byoc_vision.errors import InputError
from byoc_vision.evaluation.metric_names import class_keys, metrics_of
from byoc_vision.types import Task

MOST_DEFINITIONS = 40

# Matches 0.9876, 1e-05 and 120 as a whole, and neither nan nor inf, so that no curve has them. Uses only what every
# dialect of regular expressions has.
_NUMBER = r"([-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)"

# Of an epoch, besides its losses and metrics. Blanks distinguish `seconds` from names that end so.
_OF_EPOCHS = {
    "epoch": rf"epoch={_NUMBER} train:loss=",
    "learning_rate": rf" learning_rate={_NUMBER}",
    "epoch_seconds": rf" seconds={_NUMBER}",
    "images_per_second": rf" images_per_second={_NUMBER}",
    "data_wait_percent": rf" data_wait={_NUMBER}%",
}


@dataclass(frozen=True)
class MetricDefinition:
    """A metric's name, and the regular expression whose first group is its value."""

    name: str
    regex: str

    def value_in(self, line: str) -> float | None:
        """The metric, as SageMaker reads it from a line of the log."""
        found = re.search(self.regex, line)
        return float(found[1]) if found else None


def metric_definitions(
    task: Task | None = None, *, multi_label: bool | None = None, top_k: int | None = None, classes: Sequence[str] = ()
) -> tuple[MetricDefinition, ...]:
    """All metrics that the epochs of a job log, and those of the best epoch on the `test` channel.

    task: None stands for both tasks. multi_label: None for images of one label and of several. top_k: as the
    hyperparameter. classes: names of classes whose own validation metrics are included.

    Raises InputError for more than 40 metrics, and for classes without a task.
    """
    names = list(_names(task, multi_label, top_k))
    of_classes = [f"validation:{_of_class(task)}_{key}" for key in class_keys(classes)]
    metrics = ["train:loss", *(f"{split}:{name}" for split in ("validation", "test") for name in names), *of_classes]
    if len(metrics) + len(_OF_EPOCHS) > MOST_DEFINITIONS:
        most = MOST_DEFINITIONS - len(_OF_EPOCHS) - len(metrics) + len(of_classes)
        raise InputError(
            f"classes: {len(of_classes)} are too many, SageMaker takes {MOST_DEFINITIONS} metrics; name {most} or fewer"
        )
    return (
        *(MetricDefinition(name, f"{re.escape(name)}={_NUMBER}") for name in metrics),
        *(MetricDefinition(name, regex) for name, regex in _OF_EPOCHS.items()),
    )


def metrics_in(line: str, definitions: Iterable[MetricDefinition]) -> dict[str, float]:
    """The metrics in a line of the log, by name; empty for other lines."""
    values = {definition.name: definition.value_in(line) for definition in definitions}
    return {name: value for name, value in values.items() if value is not None}


def read_epoch(line: str, metric: str) -> tuple[int, float] | None:
    """The epoch and its metric in an epoch's line of the log, NaN included; None for other lines."""
    found = re.match(rf"epoch=([0-9]+) (?:.* )?{re.escape(metric)}=(\S+)", line)
    try:
        return (int(found[1]), float(found[2])) if found else None
    except ValueError:
        return None


def _names(task: Task | None, multi_label: bool | None, top_k: int | None) -> Iterator[str]:
    """The loss first, then each metric once."""
    groups = [
        metrics_of("segmentation") if task != "classification" else (),
        metrics_of("classification") if task != "segmentation" and not multi_label else (),
        metrics_of("classification", multi_label=True) if task != "segmentation" and multi_label is not False else (),
    ]
    yield "loss"
    yield from dict.fromkeys(name for group in groups for name in group if name != "loss")
    if top_k is not None:
        yield f"top_{top_k}_accuracy"


def _of_class(task: Task | None) -> str:
    if task is None:
        raise InputError("task: metrics of single classes depend on it; name segmentation or classification")
    return "iou" if task == "segmentation" else "f1"
