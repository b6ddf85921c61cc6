"""The protocol of a data format. A new format is a class with this protocol, listed in `FORMATS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from byoc_vision.data.formats.channels import Split
from byoc_vision.data.formats.scan import Folder
from byoc_vision.data.samples import DataOptions, Sample
from byoc_vision.types import ClassInfo, Task

USUAL_VALIDATION_SPLIT = 0.2


@dataclass(frozen=True)
class Inputs:
    """The given channels, listed once.

    splits: the folders of images (and separate folders of masks), by split, training first.
    extras: channels that describe the data: `train_lst`, `validation_lst`, `label_map`, …
    options: what the user says, for formats that it helps to match.
    memo: what a format has read of the lists, so that it reads them once.
    """

    splits: Mapping[str, Split]
    extras: Mapping[str, Folder] = field(default_factory=dict)
    options: DataOptions = field(default_factory=DataOptions)
    memo: dict[str, Any] = field(default_factory=dict)

    @property
    def first(self) -> Split:
        """The training split; when a single folder is evaluated, that one."""
        return next(iter(self.splits.values()))

    @property
    def first_and_above(self) -> list[Folder]:
        """The folder of the first split's images, and the one of all splits above it, if there is one."""
        return [folder for folder in (self.first.images, self.first.parent) if folder is not None]


@dataclass(frozen=True)
class ParsedDataset:
    """The samples of each split, and what the data format knows about them.

    samples: by split; list files may define splits for which there is no channel.
    classes: if the data format names them; for segmentation with their values.
    ignore_value: the mask value that does not count, if the data format defines one.
    validation_split: the share to hold out if there is no validation split.
    """

    samples: Mapping[str, tuple[Sample, ...]]
    classes: tuple[ClassInfo, ...] = ()
    ignore_value: int | None = None
    multi_label: bool = False
    validation_split: float = USUAL_VALIDATION_SPLIT

    def mapped(self, change: Callable[[Sample], Sample]) -> ParsedDataset:
        """The same with each sample changed."""
        return replace(self, samples={split: tuple(map(change, held)) for split, held in self.samples.items()})


class DataFormat(Protocol):
    """A way to store images and their targets in files and folders.

    name: the value of the hyperparameter `data_layout`; formats with the same name differ in their task.
    title: completes "the data are …".
    example: files and folders to imitate, shown in errors and in the documentation.
    """

    name: str
    task: Task
    title: str
    example: str

    def matches(self, inputs: Inputs) -> bool:
        """Whether the data have this format, by file names and, if necessary, the first line of a list.

        No image is opened, except a few if only they tell masks from images.
        """
        ...

    def read(self, inputs: Inputs, options: DataOptions, classes: Sequence[ClassInfo] = ()) -> ParsedDataset:
        """All samples. List files are read once, from beginning to end; no image is opened.

        classes: of a model, if the labels must be its indices; otherwise the training split defines them.
        Raises DataError that names everything that is wrong, with file and line for lists.
        """
        ...
