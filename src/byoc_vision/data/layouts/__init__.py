"""Which files are which sample: the task, the classes and the splits, seen from names alone."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from byoc_vision.data.layouts.base import Layout
from byoc_vision.data.layouts.channels import Split, find_splits, masks_beside, splits_within
from byoc_vision.data.layouts.class_folders import ClassFolders
from byoc_vision.data.layouts.listing import scan
from byoc_vision.data.layouts.picture_masks import PicturesWithMasks
from byoc_vision.data.layouts.splitting import hold_out
from byoc_vision.data.samples import DataClass, DataOptions, Dataset, Sample
from byoc_vision.errors import DataError, InputError
from byoc_vision.models.spec import Task

logger = logging.getLogger(__name__)

# In the order of trial: the first that recognises the training split reads them all.
LAYOUTS: tuple[Layout, ...] = (PicturesWithMasks(), ClassFolders())


def find_dataset(channels: Mapping[str, Path], options: DataOptions) -> Dataset:
    """The samples that the channels hold. No file is opened: `preflight.check` does that.

    channels: name → folder: `train`, `validation`, `test`, and `…_annotation` (or `…_masks`) of each. Where there
    is no validation channel, `options.validation_split` of the training samples validates.
    Raises InputError (a missing channel, a task that does not fit) or DataError (all offenders by name).
    """
    splits = find_splits(channels)
    layout = _choose_layout(splits["train"], options)
    found = layout.read(splits)
    train = found.samples["train"]
    if "validation" in found.samples:
        validation = found.samples["validation"]
    else:
        train, validation = hold_out(train, options.validation_split, options.seed)
    test = found.samples.get("test", ())
    logger.info(
        "%s: %s; %d training, %d validation and %d test pictures",
        layout.task,
        layout.title,
        len(train),
        len(validation),
        len(test),
    )
    return Dataset(layout.task, found.classes, train, validation, test)


def read_folder(folder: Path, task: Task, classes: Sequence[DataClass]) -> tuple[Sample, ...]:
    """The samples of one folder, to measure a model on: class folders, images/ and masks/, or masks in a folder beside.

    A folder of splits (`test`, `validation`, `train`, with `test_masks`, …) gives the first of these it holds.
    classes: those of the model; a classifier's labels are its indices.
    Raises InputError where the folder is not laid out for the task, DataError as `find_dataset` does.
    """
    listed = scan(folder)
    splits = splits_within(listed)
    split = next((splits[name] for name in ("test", "validation", "train") if name in splits), None)
    if split is None:
        split = Split("test", listed, masks_beside(folder))
    layout = next((layout for layout in LAYOUTS if layout.task == task and layout.recognise(split)), None)
    if layout is None:
        expected = "\n".join(layout.tree for layout in LAYOUTS if layout.task == task)
        raise InputError(f"{folder} holds no data for {task}; expected below it, without the first folder:\n{expected}")
    return layout.read({split.name: split}, classes).samples[split.name]


def _choose_layout(train: Split, options: DataOptions) -> Layout:
    if train.pictures.is_empty:
        raise DataError(f"{train.pictures.path} is empty; it must hold the training pictures")
    fitting = [layout for layout in LAYOUTS if layout.recognise(train)]
    if not fitting:
        raise DataError(_not_recognised(train))
    for layout in fitting:
        if options.task in ("auto", layout.task):
            return layout
    expected = "\n".join(layout.tree for layout in LAYOUTS if layout.task == options.task)
    raise InputError(
        f"task is {options.task}, but the data are {fitting[0].title} ({fitting[0].task}); leave task out, or lay "
        f"them out like this:\n{expected}"
    )


def _not_recognised(train: Split) -> str:
    folder = train.pictures
    kinds = Counter(Path(name).suffix.lower() or name for name in folder.files)
    contents = [f"{count} × {kind}" for kind, count in kinds.most_common(5)]
    contents += [f"{inner.name}/" for inner in folder.folders[:5]]
    contents += ["…"] if len(kinds) > 5 or len(folder.folders) > 5 else []
    trees = "\n".join(f"{layout.task}, {layout.title}:\n{layout.tree}" for layout in LAYOUTS)
    return (
        f"the training data are neither {' nor '.join(layout.title for layout in LAYOUTS)}: "
        f"{folder.path} holds {', '.join(contents)}. What is read:\n{trees}"
    )
