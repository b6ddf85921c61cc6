"""Segmentation: Label Studio's "Brush labels to PNG", with the JSON export that says which image a task is.

https://labelstud.io/guide/export: `task-12-annotation-34-by-1-tag-car-0.png`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from byoc_vision.data.formats.base import Inputs, ParsedDataset
from byoc_vision.data.formats.class_masks import ClassMask, merged_masks
from byoc_vision.data.formats.drawn import annotation_files
from byoc_vision.data.formats.lists import ImageIndex
from byoc_vision.data.formats.scan import Folder
from byoc_vision.data.samples import DataOptions
from byoc_vision.errors import DataError, list_problems
from byoc_vision.types import ClassInfo, Task

logger = logging.getLogger(__name__)

_MASK = re.compile(r"task-(?P<task>\d+)-annotation-\d+-by-.+-tag-(?P<class>.+?)(-\d+)?\.png", re.IGNORECASE)


class _Task(msgspec.Struct):
    id: int
    data: dict[str, msgspec.Raw] = {}
    file_upload: str | None = None


class LabelStudio:
    """The PNG files of the tasks, the images, and the JSON export; without that an image has the number of its task.

    What is not black is the class. The masks of all annotations of a task count.
    """

    name = "label_studio"
    task: Task = "segmentation"
    title = "the PNG masks of Label Studio"
    example = (
        "train/task-12-annotation-34-by-1-tag-car-0.png, …\n"
        "train/images/1a2b3c4d-street.jpg, …\n"
        "train/project-1-at-2024-01-01.json      the JSON export: task 12 is 1a2b3c4d-street.jpg"
    )

    def matches(self, inputs: Inputs) -> bool:
        return next(_masks(inputs.first.images), None) is not None

    def read(self, inputs: Inputs, options: DataOptions, classes: Sequence[ClassInfo] = ()) -> ParsedDataset:
        name_of = _image_of_task(inputs)
        images: dict[str, dict[str, Path]] = {}
        masks: dict[str, list[ClassMask]] = {}
        problems: list[str] = []
        for split, entry in inputs.splits.items():
            masks[split] = list(_masks(entry.images))
            index = ImageIndex((_without_masks(entry.images),))
            images[split] = {}
            for number in dict.fromkeys(one.image for one in masks[split]):
                found = index.find(name_of.get(number, number))
                if isinstance(found, Path):
                    images[split][number] = found
                else:
                    problems.append(f"task {number}: {found}")
        if problems:
            headline = (
                "images of Label Studio's tasks were not found; put its JSON export beside the masks, or call each "
                "image like its task (12.jpg):"
            )
            raise DataError(list_problems(headline, problems))
        return merged_masks(images, masks, options, classes)


def _masks(folder: Folder) -> Iterator[ClassMask]:
    for name in folder.files:
        if found := _MASK.fullmatch(name):
            yield ClassMask(found["task"], found["class"], folder.path / name)
    for inner in folder.folders:
        yield from _masks(inner)


def _without_masks(folder: Folder) -> Folder:
    files = tuple(name for name in folder.files if not _MASK.fullmatch(name))
    return Folder(folder.path, files, tuple(_without_masks(inner) for inner in folder.folders))


def _image_of_task(inputs: Inputs) -> Mapping[str, str]:
    """Task → the name of its image, from the JSON exports."""
    found: dict[str, str] = {}
    for path, _, _ in annotation_files(inputs, ".json"):
        try:
            tasks = msgspec.json.decode(path.read_bytes(), type=list[_Task])
        except (OSError, ValueError) as error:
            logger.warning("%s is not read, as it is not a JSON export of Label Studio: %s", path, error)
            continue
        for task in tasks:
            texts = [msgspec.json.decode(raw) for raw in task.data.values()]
            address = task.file_upload or next((text for text in texts if isinstance(text, str)), "")
            found[str(task.id)] = address.rpartition("?d=")[2].rpartition("/")[2]
    return found
