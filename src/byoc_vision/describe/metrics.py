"""The figures that a job's log tells, as the regular expressions by which SageMaker finds them.

See `epoch_line` and `figures_line` in training/fit.py for what is read here. SageMaker takes at the most 40 definitions
of 500 characters each, and remembers what the brackets of each hold, as a number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from byoc_vision.errors import InputError
from byoc_vision.training.metric_names import class_keys, metrics_of
from byoc_vision.types import Task

MOST_DEFINITIONS = 40

# 0.9876, 1e-05 and 120 as a whole; of nan and inf nothing, so that no curve is drawn through what is no number.
# Without anything that only some dialects of regular expressions have.
_NUMBER = r"([-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)"

# Of an epoch, beside its losses and figures. Blanks tell `seconds` from what else may end so.
_OF_EPOCHS = {
    "epoch": rf"epoch={_NUMBER} train:loss=",
    "learning_rate": rf" learning_rate={_NUMBER}",
    "epoch_seconds": rf" seconds={_NUMBER}",
    "images_per_second": rf" images_per_second={_NUMBER}",
    "data_wait_percent": rf" data_wait={_NUMBER}%",
}


@dataclass(frozen=True)
class MetricDefinition:
    """A figure's name, and the regular expression whose first group is its number."""

    name: str
    regex: str

    def value_in(self, line: str) -> float | None:
        """The figure, as SageMaker would read it from a line of the log."""
        found = re.search(self.regex, line)
        return float(found[1]) if found else None


def metric_definitions(
    task: Task | None = None, *, multi_label: bool | None = None, top_k: int | None = None, classes: Sequence[str] = ()
) -> tuple[MetricDefinition, ...]:
    """All that the epochs of a job log, and what is measured of the best one on the `test` channel.

    task: None stands for both tasks. multi_label: None for images of one label and of several. top_k: as the
    hyperparameter. classes: names of classes whose own figures on the validation images are wanted, too.

    Raises InputError where that makes more than 40, or is of no task.
    """
    names = list(_names(task, multi_label, top_k))
    of_classes = [f"validation:{_of_class(task)}_{key}" for key in class_keys(classes)]
    figures = ["train:loss", *(f"{split}:{name}" for split in ("validation", "test") for name in names), *of_classes]
    if len(figures) + len(_OF_EPOCHS) > MOST_DEFINITIONS:
        most = MOST_DEFINITIONS - len(_OF_EPOCHS) - len(figures) + len(of_classes)
        raise InputError(
            f"classes: {len(of_classes)} are too many, SageMaker takes {MOST_DEFINITIONS} metrics; name {most} or fewer"
        )
    return (
        *(MetricDefinition(name, f"{re.escape(name)}={_NUMBER}") for name in figures),
        *(MetricDefinition(name, regex) for name, regex in _OF_EPOCHS.items()),
    )


def figures_in(line: str, definitions: Iterable[MetricDefinition]) -> dict[str, float]:
    """The figures that a line of the log tells, by name; none where it is no epoch's."""
    values = {definition.name: definition.value_in(line) for definition in definitions}
    return {name: value for name, value in values.items() if value is not None}


def _names(task: Task | None, multi_label: bool | None, top_k: int | None) -> Iterator[str]:
    """The loss first, then each figure once."""
    kinds = [
        metrics_of("segmentation") if task != "classification" else (),
        metrics_of("classification") if task != "segmentation" and not multi_label else (),
        metrics_of("classification", multi_label=True) if task != "segmentation" and multi_label is not False else (),
    ]
    yield "loss"
    yield from dict.fromkeys(name for kind in kinds for name in kind if name != "loss")
    if top_k is not None:
        yield f"top_{top_k}_accuracy"


def _of_class(task: Task | None) -> str:
    if task is None:
        raise InputError("task: figures of single classes are a task's; name segmentation or classification, too")
    return "iou" if task == "segmentation" else "f1"
