"""The output of `byoc-vision prepare`: channels of images with the names of their classes.

`classes.json` in each channel says what pixel values and folder names cannot: that the value 3 is a bicyclist, that 11
is ignored, that the folder `Tops_Shirts` is the class "Tops/Shirts", and the order of the classes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from byoc_vision.data.formats.base import Inputs, ParsedDataset
from byoc_vision.data.formats.channels import Split
from byoc_vision.data.formats.colour_tables import read_table
from byoc_vision.data.samples import DataOptions, Sample
from byoc_vision.errors import DataError, list_problems
from byoc_vision.types import ClassInfo

CLASSES_FILE = "classes.json"


class ClassRecord(BaseModel):
    """A class: the pixel value it has in the masks and its colour in the original ones; or its images' folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    value: int | None = None
    folder: str | None = None
    color: str | None = None


class ClassesRecord(BaseModel):
    """The content of `classes.json`, the classes in the order of the labels.

    ignore_value: the ignored pixel value.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: tuple[ClassRecord, ...]
    ignore_value: int | None = None

    @classmethod
    def read(cls, path: Path) -> ClassesRecord:
        """Raises DataError if it cannot be read."""
        try:
            return cls.model_validate(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, RecursionError, ValidationError) as error:
            raise DataError(
                f"{path} cannot be read ({error}); prepare the data again, or remove the file in all channels: then "
                "the pixel values or the folder names are the classes"
            ) from error

    def write(self, path: Path) -> None:
        path.write_text(self.model_dump_json(indent=2, exclude_none=True) + "\n", encoding="utf-8")


def with_class_names(found: ParsedDataset, inputs: Inputs, options: DataOptions) -> ParsedDataset:
    """Samples with masks, and the classes and the ignored value of `classes.json`, if there is one.

    Raises DataError if it cannot be read.
    """
    record = _record(inputs)
    if record is None or options.ignore_index not in (None, record.ignore_value):
        return found  # the user ignores another value: the classes come from the masks
    named = tuple(ClassInfo(entry.name, entry.value, entry.color) for entry in record.classes)
    return replace(found, classes=named, ignore_value=record.ignore_value)


def read_class_folders(inputs: Inputs, classes: Sequence[ClassInfo]) -> ParsedDataset | None:
    """The samples in class folders with the names of `classes.json`; None if there is no such file.

    classes: of a model, if the labels must be its indices.
    Raises DataError if the file cannot be read, or lacks folders, which the error names.
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
        f"{folder.path} is not in {CLASSES_FILE}; prepare the data again, or remove that file in all channels: then "
        "the folder names are the classes"
        for split in inputs.splits.values()
        for folder in split.images.folders
        if folder.name not in label_of
    ]
    if problems:
        raise DataError(list_problems(f"the class folders do not match {CLASSES_FILE}:", problems))
    return ParsedDataset({name: tuple(_samples(split, label_of)) for name, split in inputs.splits.items()}, named)


def _record(inputs: Inputs) -> ClassesRecord | None:
    images = inputs.first.images
    path = images.path / CLASSES_FILE
    if CLASSES_FILE not in images.files or read_table(path):  # other tools name the classes' colours in such a file
        return None
    return ClassesRecord.read(path)


def _samples(split: Split, label_of: dict[str, int]) -> list[Sample]:
    return [
        Sample(folder.path / image, label=label_of[folder.name])
        for folder in split.images.folders
        for image in folder.images()
    ]
