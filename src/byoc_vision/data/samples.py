"""What the data is made of: samples, classes, and a dataset of them split for training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from byoc_vision.models.spec import Task


@dataclass(frozen=True)
class Sample:
    """One picture and its truth.

    mask: the file of its mask (segmentation).
    label: the index of its class (classification).
    group: pictures of one group (a car, a patient) are never divided between training and validation.
    """

    image: Path
    mask: Path | None = None
    label: int | None = None
    group: str | None = None


@dataclass(frozen=True)
class DataClass:
    """A class: its name and, for segmentation, the pixel value it has in the training masks, 0–255."""

    name: str
    value: int | None = None


@dataclass(frozen=True)
class Dataset:
    """All that training needs to know of the data.

    classes: in the order of the labels. For segmentation `find_dataset` leaves them empty:
    `preflight.check` fills them in from the values in the masks.
    ignore_value: the pixel value that no loss and no metric counts.
    """

    task: Task
    classes: tuple[DataClass, ...]
    train: tuple[Sample, ...]
    validation: tuple[Sample, ...]
    test: tuple[Sample, ...] = ()
    ignore_value: int | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(entry.name for entry in self.classes)

    @property
    def splits(self) -> dict[str, tuple[Sample, ...]]:
        """The splits that hold samples, by name, training first."""
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: samples for name, samples in named.items() if samples}


@dataclass(frozen=True)
class DataOptions:
    """What the user may say of the data; all of it can be seen from the data instead.

    task: `auto` sees it from the folders.
    validation_split: the share of the training samples that validates where there is no such channel, 0–1.
    seed: of that split.
    num_classes, num_training_samples: checked against what is found.
    ignore_index: the pixel value of masks that is not counted, 0–255.
    """

    task: Literal["auto", "segmentation", "classification"] = "auto"
    validation_split: float = 0.2
    seed: int = 0
    num_classes: int | None = None
    num_training_samples: int | None = None
    ignore_index: int | None = None
