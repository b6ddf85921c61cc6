"""What `byoc-vision prepare` writes: channels of images that also hold the names of their classes.

`classes.json` in each channel says what neither pixel values nor folder names can: that the value 3 is a bicyclist,
that 11 is not counted, that the folder `Tops_Shirts` is the class "Tops/Shirts", and the order of the classes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from byoc_vision.data.formats.base import Inputs, ParsedDataset
from byoc_vision.data.formats.channels import Split
from byoc_vision.data.samples import DataOptions, Sample
from byoc_vision.errors import DataError, list_problems
from byoc_vision.types import ClassInfo

CLASSES_FILE = "classes.json"


class ClassRecord(BaseModel):
    """A class: the pixel value it has in the masks, or the folder of its images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    value: int | None = None
    folder: str | None = None


class ClassesRecord(BaseModel):
    """The content of `classes.json`, the classes in the order of the labels.

    ignore_value: the pixel value that is not counted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: tuple[ClassRecord, ...]
    ignore_value: int | None = None

    @classmethod
    def read(cls, path: Path) -> ClassesRecord:
        """Raises DataError where it cannot be read."""
        try:
            return cls.model_validate(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, ValidationError) as error:
            raise DataError(
                f"{path} cannot be read ({error}); prepare the data again, or remove the file in all channels: then "
                "pixel values, or the names of folders, are the classes"
            ) from error

    def write(self, path: Path) -> None:
        path.write_text(self.model_dump_json(indent=2, exclude_none=True) + "\n", encoding="utf-8")


def name_values(found: ParsedDataset, inputs: Inputs, options: DataOptions) -> ParsedDataset:
    """Samples with masks, and the classes and the ignored value that `classes.json` gives, where there is one.

    Raises DataError where it cannot be read.
    """
    record = _record(inputs)
    if record is None or options.ignore_index not in (None, record.ignore_value):
        return found  # where the user counts otherwise the values speak for themselves
    named = tuple(ClassInfo(entry.name, entry.value) for entry in record.classes)
    return replace(found, classes=named, ignore_value=record.ignore_value)


def read_class_folders(inputs: Inputs, classes: Sequence[ClassInfo]) -> ParsedDataset | None:
    """The samples in class folders that `classes.json` names; None where there is no such file.

    classes: those of a model, where the labels are to be its.
    Raises DataError where the file cannot be read, and names the folders that it does not know.
    """
    record = _record(inputs)
    if record is None:
        return None
    named = tuple(classes) or tuple(ClassInfo(entry.name) for entry in record.classes)
    label_of_name = {entry.name: label for label, entry in enumerate(named)}
    label_of = {
        entry.folder: label_of_name[entry.name]
        for entry in record.classes
        if entry.folder is not None and entry.name in label_of_name
    }
    problems = [
        f"{folder.path} is no known class; prepare the data again, or remove {CLASSES_FILE} in all channels: then the "
        "folders' names are the classes"
        for split in inputs.splits.values()
        for folder in split.images.folders
        if folder.name not in label_of
    ]
    if problems:
        raise DataError(list_problems(f"the class folders do not fit {CLASSES_FILE}:", problems))
    return ParsedDataset({name: tuple(_samples(split, label_of)) for name, split in inputs.splits.items()}, named)


def _record(inputs: Inputs) -> ClassesRecord | None:
    images = inputs.first.images
    return ClassesRecord.read(images.path / CLASSES_FILE) if CLASSES_FILE in images.files else None


def _samples(split: Split, label_of: dict[str, int]) -> list[Sample]:
    return [
        Sample(folder.path / image, label=label_of[folder.name])
        for folder in split.images.folders
        for image in folder.images()
    ]
