"""Which files are which sample: the task, the classes and the splits, from names and lists alone."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from byoc_vision.data.formats.base import DataFormat, Inputs, ParsedDataset
from byoc_vision.data.formats.camvid import CamVid
from byoc_vision.data.formats.carvana import Carvana
from byoc_vision.data.formats.channels import find_extras, find_splits, lone_split, splits_within
from byoc_vision.data.formats.class_folders import ClassFolders
from byoc_vision.data.formats.csv_table import CsvLabels, CsvMasks
from byoc_vision.data.formats.image_mask_pairs import ImagesWithMasks
from byoc_vision.data.formats.lst import Lst
from byoc_vision.data.formats.manifest import ManifestLabels, ManifestMasks
from byoc_vision.data.formats.manifest_pipe import LabelRecords, MaskRecords
from byoc_vision.data.formats.oxford_pets import OxfordPetsBreeds, OxfordPetsSegmentation
from byoc_vision.data.formats.polyvore import Polyvore
from byoc_vision.data.formats.recordio import RecordIo
from byoc_vision.data.formats.scan import Folder, scan
from byoc_vision.data.formats.semantic_segmentation import SemanticSegmentation
from byoc_vision.data.formats.splitting import hold_out
from byoc_vision.data.samples import DataOptions, Dataset, Sample
from byoc_vision.errors import DataError, InputError
from byoc_vision.types import ClassInfo, Task

logger = logging.getLogger(__name__)


# In the order of trial: the first that recognises the data reads them, so the particular come before the general.
FORMATS: tuple[DataFormat, ...] = (
    SemanticSegmentation(),
    OxfordPetsSegmentation(),
    OxfordPetsBreeds(),
    Carvana(),
    CamVid(),
    Polyvore(),
    Lst(),
    RecordIo(),
    ManifestLabels(),
    ManifestMasks(),
    LabelRecords(),
    MaskRecords(),
    CsvLabels(),
    CsvMasks(),
    ImagesWithMasks(),
    ClassFolders(),
    SemanticSegmentation(needs_label_map=False),  # by its name alone: others recognise all that it does
)


def find_dataset(channels: Mapping[str, Path | Folder], options: DataOptions) -> Dataset:
    """The samples that the channels hold. No image is opened: `preflight.check` does that.

    channels: name → folder, or what was listed in it: `train`, `validation`, `test`, and `…_annotation` (or `…_masks`)
    of each, and those that describe them, such as `train_lst` and `label_map`. Where nothing validates, a share of the
    training samples does.
    Raises InputError (a missing channel, a task that does not fit) or DataError (all offenders by name).
    """
    inputs = Inputs(find_splits(channels), find_extras(channels))
    layout = _choose_layout(inputs, options)
    found = layout.read(inputs, options)
    if options.multi_label and layout.task == "classification":
        found = _as_many_labels(found)
    train = found.samples["train"]
    if "validation" in found.samples:
        validation = found.samples["validation"]
    else:
        share = found.validation_split if options.validation_split is None else options.validation_split
        train, validation = hold_out(train, share, options.seed)
    test = found.samples.get("test", ())
    logger.info(
        "%s: %s; %d training, %d validation and %d test images",
        layout.task,
        layout.title,
        len(train),
        len(validation),
        len(test),
    )
    return Dataset(layout.task, found.classes, train, validation, test, found.ignore_value, found.multi_label)


def _as_many_labels(found: ParsedDataset) -> ParsedDataset:
    """One class an image, asked for as a yes or no for each class: the class is the only yes."""
    samples = {
        split: tuple(
            sample if sample.label is None else replace(sample, label=None, labels=(sample.label,)) for sample in of
        )
        for split, of in found.samples.items()
    }
    return replace(found, samples=samples, multi_label=True)


def read_folder(
    folder: Path, task: Task, classes: Sequence[ClassInfo], options: DataOptions | None = None
) -> tuple[Sample, ...]:
    """The samples of one folder, to measure a model on: any of the layouts of the task.

    A folder of splits (`test`, `validation`, `train`, with `test_masks`, …) gives the first of these it holds.
    classes: those of the model; a classifier's labels are its indices.
    Raises InputError where the folder is not laid out for the task, DataError as `find_dataset` does.
    """
    listed = scan(folder)
    splits = splits_within(listed)
    split = next((splits[name] for name in ("test", "validation", "train") if name in splits), None)
    if split is None:
        split = lone_split(listed)
    inputs = Inputs({split.name: split})
    layout = next((layout for layout in FORMATS if layout.task == task and layout.matches(inputs)), None)
    if layout is None:
        expected = "\n".join(layout.tree for layout in FORMATS if layout.task == task)
        raise InputError(f"{folder} holds no data for {task}; expected below it, without the first folder:\n{expected}")
    samples = layout.read(inputs, options or DataOptions(), classes).samples
    return next(samples[name] for name in (split.name, "test", "validation", "train") if name in samples)


def format_names() -> list[str]:
    """What `data_layout` may say beside `auto`."""
    return list(dict.fromkeys(layout.name for layout in FORMATS))


def _choose_layout(inputs: Inputs, options: DataOptions) -> DataFormat:
    if options.layout != "auto":
        return _named_layout(inputs, options)
    if inputs.first.images.is_empty:
        raise DataError(f"{inputs.first.images.path} is empty; it must hold the training images")
    fitting = [layout for layout in FORMATS if layout.matches(inputs)]
    if not fitting:
        raise DataError(_not_recognised(inputs.first.images))
    for layout in fitting:
        if options.task in ("auto", layout.task):
            return layout
    expected = "\n".join(layout.tree for layout in FORMATS if layout.task == options.task)
    raise InputError(
        f"task is {options.task}, but the data are {fitting[0].title} ({fitting[0].task}); leave task out, or lay "
        f"them out like this:\n{expected}"
    )


def _named_layout(inputs: Inputs, options: DataOptions) -> DataFormat:
    """The layout that the user names; where it does not recognise the data, its tree is the remedy."""
    named = [layout for layout in FORMATS if layout.name == options.layout]
    if not named:
        raise InputError(f"data_layout={options.layout} is not known; take one of auto, {', '.join(format_names())}")
    of_task = [layout for layout in named if options.task in ("auto", layout.task)]
    if not of_task:
        raise InputError(f"data_layout={options.layout} is for task={named[0].task}, but task is {options.task}")
    layout = next((layout for layout in of_task if layout.matches(inputs)), None)
    if layout is None:
        trees = "\n".join(layout.tree for layout in of_task)
        raise InputError(
            f"data_layout={options.layout}, but {inputs.first.images.path} holds {_contents(inputs.first.images)}. "
            f"Expected:\n{trees}"
        )
    return layout


def _not_recognised(folder: Folder) -> str:
    trees = "\n".join(f"{layout.task}, {layout.title}:\n{layout.tree}" for layout in FORMATS)
    return f"no known layout is recognised in {folder.path}: it holds {_contents(folder)}. What is read:\n{trees}"


def _contents(folder: Folder) -> str:
    kinds = Counter(Path(name).suffix.lower() or name for name in folder.files)
    contents = [f"{count} × {kind}" for kind, count in kinds.most_common(5)]
    contents += [f"{inner.name}/" for inner in folder.folders[:5]]
    contents += ["…"] if len(kinds) > 5 or len(folder.folders) > 5 else []
    return ", ".join(contents) or "nothing"


_GENERAL = ("class_folders", "pictures_and_masks")  # what most people have comes first


def layouts_text() -> str:
    """Markdown: what each layout is called, what it is for, and an example of each of its trees."""
    of_name: dict[str, list[DataFormat]] = {}
    for layout in FORMATS:
        of_name.setdefault(layout.name, []).append(layout)
    names = sorted(of_name, key=lambda name: name not in _GENERAL)
    return "\n\n".join(_paragraph(name, of_name[name]) for name in names)


def _paragraph(name: str, layouts: Sequence[DataFormat]) -> str:
    tasks = " or ".join(dict.fromkeys(layout.task for layout in layouts))
    titles = "; ".join(dict.fromkeys(layout.title for layout in layouts))
    trees = [layout.tree for layout in layouts]
    apart = [tree for tree in dict.fromkeys(trees) if not any(tree != other and tree in other for other in trees)]
    shown = "\n\n".join(apart)
    return f"`{name}`, {tasks}: {titles}\n\n```\n{shown}\n```"
