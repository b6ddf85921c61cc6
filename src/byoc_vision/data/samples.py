"""A sample, a data set with its splits, and what the user may say about the data."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from byoc_vision.preprocess import Band
from byoc_vision.types import ClassInfo, DataFormatName, Task


@dataclass(frozen=True)
class ByteRange:
    """An image within a larger file, such as a record of a RecordIO file. It is read like a `Path`.

    title: its name in messages: `train.rec, record 17`.
    offset, size: in bytes.
    gaps: ranges of the file within it that are not part of the image, as offsets (from, to), in order.
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
        """Raises OSError like a file."""
        with self.path.open("rb", buffering=0) as file:
            content = os.pread(file.fileno(), self.size, self.offset)
        for start, stop in reversed(self.gaps):
            content = content[: start - self.offset] + content[stop - self.offset :]
        return content

    def __str__(self) -> str:
        return self.title


ImageSource = Path | ByteRange

OnBadSample = Literal["fail", "skip"]
MaskOrientation = Literal["auto", "upright", "stored"]


@dataclass(frozen=True)
class MaskMap:
    """What the values stored in mask files mean, if they are not the labels themselves.

    title: where the map comes from, for messages.
    values: (stored value, label) pairs; a stored value that is missing here is an error.
    hint: what may be wrong with the map and the remedy, added to that error if the unknown value is a label.
    colours: (colour as 0xRRGGBB, label) pairs, for mask files that store these instead of values.
    """

    title: str
    values: tuple[tuple[int, int], ...]
    hint: str = ""
    colours: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class ColourMap:
    """What the colours stored in mask files mean.

    title: where the map comes from, for messages.
    values: (colour as 0xRRGGBB, label) pairs; a colour that is missing here is an error.
    rows: the labels in the order of the table, for masks that hold the numbers of its rows; empty without a table.
    """

    title: str
    values: tuple[tuple[int, int], ...]
    rows: tuple[int, ...] = ()


@dataclass(frozen=True)
class DrawnMask:
    """A mask that is drawn when it is read, from shapes that an annotation file describes.

    path: the annotation file. entry: of the image in that file, for messages.
    values: the label of each shape, in the order in which they are drawn; 255 is ignored.
    outlines: each shape in COCO's JSON, polygons or run lengths; or empty, then `ranges` says where they stand.
    ranges: int64 [n, 2], the offset and the size in bytes of each shape in the annotation file.
    size: height and width in pixels; None: the image's.
    is_relative: the coordinates are shares of the image's width and height, 0–1.
    background: the label without a shape.
    """

    path: Path
    entry: str
    values: bytes = b""
    outlines: tuple[bytes, ...] = ()
    ranges: bytes = b""
    size: tuple[int, int] | None = None
    is_relative: bool = False
    background: int = 0

    @property
    def name(self) -> str:
        return f"{self.path.name}, {self.entry}"

    def __str__(self) -> str:
        return f"{self.path}, {self.entry}"


MaskSource = ImageSource | DrawnMask


def file_of(source: MaskSource) -> Path:
    """The file that holds an image or a mask."""
    return source if isinstance(source, Path) else source.path


@dataclass(frozen=True)
class Sample:
    """One image and its target.

    mask: the file of its mask, or the shapes that it is drawn from (segmentation). mask_map: what the values or the
    colours in that file mean.
    label: the index of its class (classification).
    labels: the indices of all its classes, ascending, possibly none (multi-label classification).
    group: images of one group (a car, a patient) are never divided between training and validation.
    further_masks: of the same image, one for each object; then the target is their union: 255 where any is not 0.
    mask_labels: if each mask is of one class: the label of what none marks, then that of each mask where it is not 0.
    mask_orientation: whether the mask lies over the upright image or over its stored pixels, before EXIF turns them.
    stratum: validation images are drawn evenly from each stratum; by default from each label.
    """

    image: ImageSource
    mask: MaskSource | None = None
    label: int | None = None
    group: str | None = None
    labels: tuple[int, ...] | None = None
    stratum: str | None = None
    mask_map: MaskMap | ColourMap | None = None
    further_masks: tuple[Path, ...] = ()
    mask_labels: tuple[int, ...] = ()
    mask_orientation: MaskOrientation = "auto"

    @property
    def class_indices(self) -> tuple[int, ...]:
        """Those of an image's classes: one, or any number for multi-label data; none for masks."""
        if self.labels is not None:
            return self.labels
        return () if self.label is None else (self.label,)


@dataclass(frozen=True)
class Dataset:
    """The data as training sees them.

    classes: in the order of the labels. For segmentation `find_dataset` leaves them empty unless the data format names
    them; then `preflight.check` finds them in the masks.
    ignore_value: the pixel value that no loss and no metric counts.
    multi_label: an image has any number of classes, in `Sample.labels`.
    bands: the range of each band of the images; none for photographs.
    """

    task: Task
    classes: tuple[ClassInfo, ...]
    train: tuple[Sample, ...]
    validation: tuple[Sample, ...]
    test: tuple[Sample, ...] = ()
    ignore_value: int | None = None
    multi_label: bool = False
    bands: tuple[Band, ...] = ()

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(entry.name for entry in self.classes)

    @property
    def mask_values(self) -> frozenset[int]:
        """All values that a mask may hold: those of the classes and the ignored one."""
        values = {entry.value for entry in self.classes} | {self.ignore_value}
        return frozenset(value for value in values if value is not None)

    def with_samples(self, change: Callable[[Sequence[Sample]], Iterable[Sample]]) -> Dataset:
        """The dataset with the changed samples of each split."""
        train, validation, test = (tuple(change(samples)) for samples in (self.train, self.validation, self.test))
        return replace(self, train=train, validation=validation, test=test)

    @property
    def splits(self) -> dict[str, tuple[Sample, ...]]:
        """The splits that have samples, by name, training first."""
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: samples for name, samples in named.items() if samples}


@dataclass(frozen=True)
class DataOptions:
    """What the user may say about the data. Each default is detected from the data.

    task: `auto` detects it from the folders.
    layout: the name of a data format, or `auto`.
    validation_split: the share of the training samples that is held out if there is no validation channel, 0–1;
    None: the default of the data format.
    seed: of that split.
    num_classes, num_training_samples: compared with what is found.
    ignore_index: the pixel value of masks that does not count, 0–255.
    mask_orientation: as in `Sample`, of all samples.
    trimap_border: what the border in the Oxford pets' trimaps means.
    min_class_count: classes with fewer training images are left out; None: the default of the data format.
    multi_label: None detects it from the labels.
    label_column, image_column: names of columns in CSV tables; several label columns with commas between them.
    bands: the number of bands of the images; None detects them.
    label_attribute: the attribute of augmented manifests that holds the labels or masks.
    on_bad_sample: whether an invalid sample ends the job or is left out.
    mask_colors: (name, 0xRRGGBB) of each class in masks in colours.
    checked_pictures: the number of images decoded before training; None: all, up to a limit.
    checking_budget: bytes of JPEG decoded before training if checked_pictures is None; None: no limit.
    """

    task: Literal["auto", "segmentation", "classification"] = "auto"
    layout: DataFormatName = "auto"
    validation_split: float | None = None
    seed: int = 0
    num_classes: int | None = None
    num_training_samples: int | None = None
    ignore_index: int | None = None
    mask_orientation: MaskOrientation = "auto"
    trimap_border: Literal["ignore", "class"] = "ignore"
    min_class_count: int | None = None
    multi_label: bool | None = None
    bands: int | None = None
    label_column: str | None = None
    image_column: str | None = None
    label_attribute: str | None = None
    on_bad_sample: OnBadSample = "fail"
    mask_colors: tuple[tuple[str, int], ...] = ()
    checked_pictures: int | None = None
    checking_budget: int | None = None

    @property
    def skips(self) -> bool:
        """Whether invalid samples are left out."""
        return self.on_bad_sample == "skip"


NOTHING_SAID = DataOptions()
