"""Classification: one folder for each class."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from byoc_vision.data.layouts.base import Found, Inputs
from byoc_vision.data.layouts.channels import Split
from byoc_vision.data.layouts.listing import Folder
from byoc_vision.data.layouts.picture_masks import has_inner_masks
from byoc_vision.data.samples import DataClass, DataOptions, Sample
from byoc_vision.errors import DataError, list_problems
from byoc_vision.models.spec import Task

logger = logging.getLogger(__name__)


class ClassFolders:
    """`SPLIT/CLASS/**/*.jpg`; the folders of the training split name the classes, in natural order."""

    name = "class_folders"
    task: Task = "classification"
    title = "class folders"
    tree = "train/\n  cat/1.jpg, 2.jpg, …\n  dog/3.jpg, 4.jpg, …"

    def recognise(self, inputs: Inputs) -> bool:
        pictures = inputs.first.pictures
        return not has_inner_masks(pictures) and any(folder.has_pictures for folder in pictures.folders)

    def read(self, inputs: Inputs, options: DataOptions, classes: Sequence[DataClass] = ()) -> Found:
        splits = inputs.splits
        names = [entry.name for entry in classes] or self._class_names(splits["train"].pictures)
        problems = [problem for split in splits.values() for problem in _problems(split, names)]
        if problems:
            raise DataError(list_problems("the class folders do not fit:", problems))
        samples = {name: tuple(_samples(split.pictures, names)) for name, split in splits.items()}
        return Found(samples, tuple(DataClass(name) for name in names))

    def _class_names(self, train: Folder) -> list[str]:
        names = [folder.name for folder in train.folders]
        if len(names) < 2:
            raise DataError(
                f"{train.path} holds a single class folder, {names[0]!r}; a classifier needs two or more. "
                f"Expected:\n{self.tree}"
            )
        return names


def _samples(folder: Folder, names: list[str]) -> list[Sample]:
    return [
        Sample(inner.path / picture, label=names.index(inner.name))
        for inner in folder.folders
        for picture in inner.pictures()
    ]


def _problems(split: Split, names: list[str]) -> list[str]:
    folder = split.pictures
    if not folder.folders:
        return [f"{folder.path} holds no class folders; expected: {', '.join(names)}"]
    if folder.picture_names:
        count = len(folder.picture_names)
        logger.warning("pictures in %s that lie in no class folder and are not read: %d", folder.path, count)
    unknown = [
        f"{inner.path}: there is no class {inner.name!r} in training (classes: {', '.join(names)})"
        for inner in folder.folders
        if inner.name not in names
    ]
    empty = [f"{inner.path}: {_emptiness(inner)}" for inner in folder.folders if not inner.has_pictures]
    return unknown + empty


def _emptiness(folder: Folder) -> str:
    if folder.is_empty:
        return "the class folder is empty; put pictures in or remove it"
    sample = folder.files[0] if folder.files else f"{folder.folders[0].name}/"
    return f"the class folder holds no pictures (.jpg, .png, …), only the like of {sample!r}"
