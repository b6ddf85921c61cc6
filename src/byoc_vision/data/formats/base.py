"""What a data layout is. A new one is a class of this shape, listed in `LAYOUTS`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from byoc_vision.data.formats.channels import Split
from byoc_vision.data.formats.scan import Folder
from byoc_vision.data.samples import DataOptions, Sample
from byoc_vision.types import ClassInfo, Task

USUAL_VALIDATION_SPLIT = 0.2


@dataclass(frozen=True)
class Inputs:
    """All that was given, listed once.

    splits: the folders of images (and of masks apart from them), by split, training first.
    extras: other channels that describe the data: `train_lst`, `validation_lst`, `label_map`, …
    """

    splits: Mapping[str, Split]
    extras: Mapping[str, Folder] = field(default_factory=dict)

    @property
    def first(self) -> Split:
        """The training split; where a single folder is measured, that one."""
        return next(iter(self.splits.values()))


@dataclass(frozen=True)
class ParsedDataset:
    """The samples of each split, by its name, and what the layout knows of them.

    samples: may hold splits that no channel gave, where list files name them.
    classes: where the layout names them; for segmentation with their values.
    ignore_value: the mask value that is not counted, where the layout says so.
    validation_split: the share to hold out where no split validates.
    """

    samples: Mapping[str, tuple[Sample, ...]]
    classes: tuple[ClassInfo, ...] = ()
    ignore_value: int | None = None
    multi_label: bool = False
    validation_split: float = USUAL_VALIDATION_SPLIT


class DataFormat(Protocol):
    """A way to lay out images and their target in files and folders.

    name: what the hyperparameter `data_layout` calls it; layouts of one name differ in their task.
    title: completes "the data are …".
    tree: an example to imitate, shown in errors and in the README.
    """

    name: str
    task: Task
    title: str
    tree: str

    def matches(self, inputs: Inputs) -> bool:
        """Whether the data are laid out this way, judged by names, and by the first line of a list where it must be.

        No image is opened.
        """
        ...

    def read(self, inputs: Inputs, options: DataOptions, classes: Sequence[ClassInfo] = ()) -> ParsedDataset:
        """All samples. List files are read once, from the beginning to the end; no image is opened.

        classes: those of a model, where the labels are to be its; else the training split names them.
        Raises DataError that names every offender, with file and line where a list has it.
        """
        ...
