"""What the data is made of: samples, classes, and a dataset of them split for training."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from byoc_vision.types import ClassInfo, DataFormatName, Task


@dataclass(frozen=True)
class ByteRange:
    """An image that lies in a larger file, such as a record of a RecordIO file. It is read as a `Path` is.

    title: what messages call it: `train.rec, record 17`.
    offset, size: in bytes.
    gaps: stretches of the file within it, as offsets from … to, in order, that do not belong to the image.
    """

    path: Path
    offset: int
    size: int
    title: str
    gaps: tuple[tuple[int, int], ...] = ()

    @property
    def name(self) -> str:
        return self.title

    def read_bytes(self) -> bytes:
        """Raises OSError as a file does."""
        with self.path.open("rb", buffering=0) as file:
            content = os.pread(file.fileno(), self.size, self.offset)
        for start, stop in reversed(self.gaps):
            content = content[: start - self.offset] + content[stop - self.offset :]
        return content

    def __str__(self) -> str:
        return self.title


ImageSource = Path | ByteRange


@dataclass(frozen=True)
class MaskMap:
    """What the values stored in mask files stand for, where they are not themselves what counts.

    title: where the map comes from, for messages.
    values: stored value → the value that counts; a stored value that is missing here is an error.
    hint: what may be wrong with the map and the remedy, added to that error where the unknown value is one that counts.
    """

    title: str
    values: tuple[tuple[int, int], ...]
    hint: str = ""


@dataclass(frozen=True)
class Sample:
    """One image and its target.

    mask: the file of its mask (segmentation), and mask_map what its values stand for.
    label: the index of its class (classification).
    labels: the indices of all its classes, in ascending order (multi-label classification); there may be none.
    group: images of one group (a car, a patient) are never divided between training and validation.
    stratum: what to draw evenly from when validation images are held out; the label where there is one.
    """

    image: ImageSource
    mask: ImageSource | None = None
    label: int | None = None
    group: str | None = None
    labels: tuple[int, ...] | None = None
    stratum: str | None = None
    mask_map: MaskMap | None = None


@dataclass(frozen=True)
class Dataset:
    """All that training needs to know of the data.

    classes: in the order of the labels. For segmentation `find_dataset` leaves them empty unless the layout names
    them: `preflight.check` fills them in from the values in the masks.
    ignore_value: the pixel value that no loss and no metric counts.
    multi_label: an image has any number of classes, in `Sample.labels`.
    """

    task: Task
    classes: tuple[ClassInfo, ...]
    train: tuple[Sample, ...]
    validation: tuple[Sample, ...]
    test: tuple[Sample, ...] = ()
    ignore_value: int | None = None
    multi_label: bool = False

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(entry.name for entry in self.classes)

    @property
    def mask_values(self) -> frozenset[int]:
        """All values that a mask may hold: those of the classes, and the ignored one."""
        values = {entry.value for entry in self.classes} | {self.ignore_value}
        return frozenset(value for value in values if value is not None)

    @property
    def splits(self) -> dict[str, tuple[Sample, ...]]:
        """The splits that hold samples, by name, training first."""
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: samples for name, samples in named.items() if samples}


@dataclass(frozen=True)
class DataOptions:
    """What the user may say of the data; all of it can be seen from the data instead.

    task: `auto` sees it from the folders.
    layout: the name of a data layout, or `auto`.
    validation_split: the share of the training samples that validates where there is no such channel, 0–1;
    None: what is usual for the layout.
    seed: of that split.
    num_classes, num_training_samples: checked against what is found.
    ignore_index: the pixel value of masks that is not counted, 0–255.
    trimap_border: what the border in the Oxford pets' trimaps is.
    min_class_count: classes with fewer training images are left out; None: what is usual for the layout.
    multi_label: None sees it from the labels.
    on_bad_sample: whether a sample that cannot be used ends the job or is left out.
    checked_pictures: how many images are decoded before training; None: all, up to a limit.
    checking_budget: bytes of JPEG that may be decoded before training, where checked_pictures says nothing; None: any.
    """

    task: Literal["auto", "segmentation", "classification"] = "auto"
    layout: DataFormatName = "auto"
    validation_split: float | None = None
    seed: int = 0
    num_classes: int | None = None
    num_training_samples: int | None = None
    ignore_index: int | None = None
    trimap_border: Literal["ignore", "class"] = "ignore"
    min_class_count: int | None = None
    multi_label: bool | None = None
    on_bad_sample: Literal["fail", "skip"] = "fail"
    checked_pictures: int | None = None
    checking_budget: int | None = None
