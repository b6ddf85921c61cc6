"""Which files are which sample: the task, the classes and the splits, from names and lists alone."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from byoc_vision.data.bands import describe_bands, find_bands
from byoc_vision.data.formats.ade20k import Ade20k
from byoc_vision.data.formats.base import DataFormat, Inputs, ParsedDataset
from byoc_vision.data.formats.boxes import boxes_alone, other_annotations
from byoc_vision.data.formats.camvid import CamVid
from byoc_vision.data.formats.carvana import Carvana
from byoc_vision.data.formats.channels import (
    find_extras,
    find_splits,
    is_label_map,
    single_split,
    splits_within,
)
from byoc_vision.data.formats.cityscapes import Cityscapes
from byoc_vision.data.formats.class_folders import ClassFolders
from byoc_vision.data.formats.class_masks import ClassMasks
from byoc_vision.data.formats.coco import Coco
from byoc_vision.data.formats.csv_table import CsvLabels, CsvMasks, UnclearCsv
from byoc_vision.data.formats.cvat import CvatImages
from byoc_vision.data.formats.drive import Drive
from byoc_vision.data.formats.examples import describe_examples
from byoc_vision.data.formats.image_mask_pairs import ImagesWithMasks, unpack_hint
from byoc_vision.data.formats.instance_masks import InstanceMasks
from byoc_vision.data.formats.label_studio import LabelStudio
from byoc_vision.data.formats.labelme import LabelMe
from byoc_vision.data.formats.lst import Lst
from byoc_vision.data.formats.manifest import ManifestLabels, ManifestMasks
from byoc_vision.data.formats.manifest_pipe import LabelRecords, MaskRecords
from byoc_vision.data.formats.mask_evidence import TwoReadingsError
from byoc_vision.data.formats.masks_beside import MasksBesideImages
from byoc_vision.data.formats.nearest import describe_nearest
from byoc_vision.data.formats.oxford_pets import OxfordPetsBreeds, OxfordPetsSegmentation
from byoc_vision.data.formats.polyvore import Polyvore
from byoc_vision.data.formats.recordio import RecordIo
from byoc_vision.data.formats.rle_csv import RunLengthCsv
from byoc_vision.data.formats.scan import Folder, scan
from byoc_vision.data.formats.semantic_segmentation import SemanticSegmentation
from byoc_vision.data.formats.split_lists import with_listed_splits
from byoc_vision.data.formats.splitting import hold_out
from byoc_vision.data.formats.unread_endings import without_unread_endings
from byoc_vision.data.formats.voc import Voc
from byoc_vision.data.formats.yolo import YoloSegmentation
from byoc_vision.data.samples import DataOptions, Dataset, MaskOrientation, Sample
from byoc_vision.errors import DataError, InputError, list_problems
from byoc_vision.types import ClassInfo, Task, name_problem

logger = logging.getLogger(__name__)

_SPREADSHEETS = frozenset({".xlsx", ".xls", ".ods", ".numbers", ".parquet", ".feather"})

# In the order of trial: the first format that matches reads the data, so special ones come before general ones.
FORMATS: tuple[DataFormat, ...] = (
    SemanticSegmentation(),
    OxfordPetsSegmentation(),
    OxfordPetsBreeds(),
    Carvana(),
    CamVid(),
    Drive(),
    Cityscapes(),
    Ade20k(),
    Polyvore(),
    Lst(),
    RecordIo(),
    ManifestLabels(),
    ManifestMasks(),
    LabelRecords(),
    MaskRecords(),
    RunLengthCsv(),
    CsvLabels(),
    CsvMasks(),
    Coco(),
    CvatImages(),
    LabelMe(),
    YoloSegmentation(),
    Voc(),
    LabelStudio(),
    MasksBesideImages(),
    ClassMasks(),
    InstanceMasks(),
    ImagesWithMasks(),
    UnclearCsv(),
    ClassFolders(),
    SemanticSegmentation(needs_label_map=False),  # only by name: other formats match the same data
)


def find_dataset(channels: Mapping[str, Path | Folder], options: DataOptions) -> Dataset:
    """The samples in the channels.

    No image is opened, except a few if only they tell masks from images; `preflight.check` reads them.

    Without a validation split a share of the training samples is held out.

    Args:
        channels: name → folder, or its listing: `train`, `validation`, `test`, and `…_annotation` (or `…_masks`) of
            each, and channels that describe them, such as `train_lst` and `label_map`.

    Raises:
        InputError: a channel is missing, or the task does not fit the data.
        DataError: names everything that is wrong.
    """
    inputs = Inputs(find_splits(channels), find_extras(channels), options)
    data_format = _choose_format(inputs, options)
    _check_choices(data_format, options)
    found = without_unread_endings(data_format.read(inputs, options))
    if len(inputs.splits) == 1 and found.samples.keys() == {"train"}:
        found = with_listed_splits(found, inputs)
    if options.multi_label and data_format.task == "classification":
        found = _as_multi_label(found)
    found = _with_orientation(found, options.mask_orientation)
    _warn_of_unread_extras(data_format, inputs)
    _check_names(found.classes)
    _warn_of_similar_names(found.classes)
    dataset = _divided(found, data_format.task, options)
    _log(dataset, data_format)
    bands = find_bands(dataset.train, options.bands)
    if bands:
        many = f"{len(bands)} bands; each is" if len(bands) > 1 else "one band, which is"
        logger.info("images have %s stretched by its range: %s", many, describe_bands(bands))
    return replace(dataset, bands=bands)


def _divided(found: ParsedDataset, task: Task, options: DataOptions) -> Dataset:
    """The dataset with its own validation split, or one that is held out of the training samples."""
    train, validation = found.samples["train"], found.samples.get("validation")
    if validation is None:
        share = found.validation_split if options.validation_split is None else options.validation_split
        train, validation = hold_out(train, share, options.seed)
    test = found.samples.get("test", ())
    return Dataset(task, found.classes, train, validation, test, found.ignore_value, found.multi_label)


def _log(dataset: Dataset, data_format: DataFormat) -> None:
    """How the data are understood, with a few examples."""
    logger.info(
        "%s: %s; %d training, %d validation and %d test images",
        dataset.task,
        data_format.title,
        *map(len, (dataset.train, dataset.validation, dataset.test)),
    )
    for line in describe_examples(dataset.splits, dataset.classes):
        logger.info(line)


def _check_choices(data_format: DataFormat, options: DataOptions) -> None:
    """Raises InputError for a choice that does not belong to the data format."""
    for name, formats in (("label_column", ("csv",)), ("image_column", ("csv",)), ("label_attribute", ("manifest",))):
        value = getattr(options, name)
        if value is not None and data_format.name not in formats:
            raise InputError(
                f"{name}={value} is for data_layout={formats[0]}, but the data are {data_format.title}; leave it out"
            )


def _warn_of_unread_extras(data_format: DataFormat, inputs: Inputs) -> None:
    """Log the channels of lists, such as `train_lst`, or of label maps that the data format does not read."""

    def is_read(channel: str) -> bool:
        split, _, kind = channel.partition("_")
        if is_label_map(channel):
            return data_format.name == "semantic_segmentation"
        return kind == data_format.name and split in inputs.splits

    if unread := [name for name in inputs.extras if not is_read(name)]:
        logger.warning("channels are not read, as the data are %s: %s", data_format.title, ", ".join(unread))


def _check_names(classes: Sequence[ClassInfo]) -> None:
    """Raises DataError if a class has a name that a model cannot store."""
    if problems := list(filter(None, (name_problem(entry.name) for entry in classes))):
        raise DataError(list_problems("rename these classes, which the folders or the labels define:", problems))


def _warn_of_similar_names(classes: Sequence[ClassInfo]) -> None:
    """Two classes such as `Cat` and `cat` are usually one, written by two people."""
    alike: dict[str, list[str]] = {}
    for entry in classes:
        plain = re.sub(r"(?!^)[\s_-]+", " ", unicodedata.normalize("NFKC", entry.name)).strip().casefold()
        alike.setdefault(plain, []).append(entry.name)
    for names in alike.values():
        if len(names) > 1:
            logger.warning(
                "The names of classes differ only in case or separators: %s; if they are one class, give them one name",
                ", ".join(names),
            )


def _as_multi_label(found: ParsedDataset) -> ParsedDataset:
    """Single-label data as multi-label data: each image has one of the classes."""
    several = found.mapped(lambda sample: replace(sample, label=None, labels=sample.class_indices))
    return replace(several, multi_label=True)


def _with_orientation(found: ParsedDataset, orientation: MaskOrientation) -> ParsedDataset:
    if orientation == "auto":
        return found
    return found.mapped(lambda sample: replace(sample, mask_orientation=orientation))


def read_folder(
    folder: Path, task: Task, classes: Sequence[ClassInfo], options: DataOptions | None = None
) -> tuple[Sample, ...]:
    """The samples of one folder, to evaluate a model, in any data format of the task.

    Of a folder of splits (`test`, `validation`, `train`, with `test_masks`, …) the first of these is read.
    classes: of the model; a classifier's labels are their indices.
    Raises InputError if no data format of the task matches, DataError as `find_dataset` does.
    """
    listed = scan(folder)
    splits = splits_within(listed)
    split = next((splits[name] for name in ("test", "validation", "train") if name in splits), None)
    if split is None:
        split = single_split(listed)
    options = replace(options or DataOptions(), task=task)
    inputs = Inputs({split.name: split}, options=options)
    data_format = next((one for one in FORMATS if one.task == task and one.matches(inputs)), None)
    if data_format is None:
        expected = "\n".join(one.example for one in FORMATS if one.task == task)
        raise InputError(f"{folder} holds no data for {task}; expected in it, without the first folder:\n{expected}")
    samples = _with_orientation(data_format.read(inputs, options, classes), options.mask_orientation).samples
    return next(samples[name] for name in (split.name, "test", "validation", "train") if name in samples)


def format_names() -> list[str]:
    """The values of `data_layout` other than `auto`."""
    return list(dict.fromkeys(one.name for one in FORMATS))


def _choose_format(inputs: Inputs, options: DataOptions) -> DataFormat:
    if options.layout != "auto":
        return _named_format(inputs, options)
    if inputs.first.images.is_empty:
        raise DataError(f"{inputs.first.images.path} is empty; it must hold the training images")
    matching = _matching(inputs, options)
    has_masks = any(one.task == "segmentation" for one in matching)
    if options.task != "classification" and not has_masks and (problem := boxes_alone(inputs)):
        raise DataError(problem)
    if (table := _spreadsheet(inputs)) and not _is_clear(matching, inputs.first.images):
        raise DataError(
            f"{table} is a table that is not read; save it as CSV, with a column of images and one of labels"
        )
    if not _is_clear(matching, inputs.first.images) and (problem := other_annotations(inputs)):
        raise DataError(problem)
    if not matching:
        raise DataError(_no_match(inputs.first.images))
    for data_format in matching:
        if options.task in ("auto", data_format.task):
            return data_format
    expected = "\n".join(one.example for one in FORMATS if one.task == options.task)
    raise InputError(
        f"task is {options.task}, but the data are {matching[0].title} ({matching[0].task}); leave task out, choose "
        f"with data_layout ({', '.join(format_names())}), or arrange them like this:\n{expected}"
    )


def _matching(inputs: Inputs, options: DataOptions) -> list[DataFormat]:
    """The formats that match, without class folders if the folders hold images and masks.

    Raises TwoReadingsError if the files are either, and the user does not choose.
    """
    matching: list[DataFormat] = []
    for data_format in FORMATS:
        try:
            if data_format.matches(inputs):
                matching.append(data_format)
        except TwoReadingsError:
            if options.task != "classification" and all(one.task == "classification" for one in matching):
                raise
    has_masks = inputs.first.masks is None and any(
        isinstance(one, ImagesWithMasks | InstanceMasks | Voc | ClassMasks | MasksBesideImages | Drive)
        for one in matching
    )
    return [one for one in matching if not (has_masks and isinstance(one, ClassFolders))]


def _named_format(inputs: Inputs, options: DataOptions) -> DataFormat:
    """The data format that the user names. Raises InputError with its example if it does not match the data."""
    named = [one for one in FORMATS if one.name == options.layout]
    if not named:
        raise InputError(f"data_layout={options.layout} is not known; use one of auto, {', '.join(format_names())}")
    of_task = [one for one in named if options.task in ("auto", one.task)]
    if not of_task:
        raise InputError(f"data_layout={options.layout} is for task={named[0].task}, but task is {options.task}")
    data_format = next((one for one in of_task if one.matches(inputs)), None)
    if data_format is None:
        examples = "\n".join(one.example for one in of_task)
        raise InputError(
            f"data_layout={options.layout}, but {inputs.first.images.path} holds {_contents(inputs.first.images)}. "
            f"Expected:\n{examples}"
        )
    return data_format


def _spreadsheet(inputs: Inputs) -> Path | None:
    """A table of another program beside or above the images."""
    files = (folder.path / name for folder in inputs.first_and_above for name in folder.files)
    return next((file for file in files if file.suffix.lower() in _SPREADSHEETS), None)


def _is_clear(matching: Sequence[DataFormat], folder: Folder) -> bool:
    """Whether the data can be read without a table: not as a single folder of a class."""
    is_single = len(folder.unwrapped()[-1].image_folders) < 2
    return bool(matching) and not (isinstance(matching[0], ClassFolders) and is_single)


def _no_match(folder: Folder) -> str:
    if (packed := unpack_hint([folder])) and not folder.has_images:
        return f"no images found in {folder.path}: it holds {_contents(folder)}.{packed}"
    return (
        f"no known data layout found in {folder.path}: it holds {_contents(folder)}.{_unread(folder)} "
        f"docs/data.md shows all layouts. The nearest:\n{describe_nearest(folder, FORMATS)}"
    )


def _unread(folder: Folder) -> str:
    endings = folder.unread_endings()
    if not endings:
        return ""
    counts = ", ".join(f"{count} × {ending}" for ending, count in endings.most_common())
    packed = unpack_hint([folder])
    return f" Files that are not read as images: {counts}; image files need an ending such as .jpg or .png.{packed}"


def _contents(folder: Folder) -> str:
    kinds = Counter(Path(name).suffix.lower() or name for name in folder.files)
    contents = [f"{count} × {kind}" for kind, count in kinds.most_common(5)]
    contents += [f"{inner.name}/" for inner in folder.folders[:5]]
    contents += ["…"] if len(kinds) > 5 or len(folder.folders) > 5 else []
    return ", ".join(contents) or "nothing"


_GENERAL = ("class_folders", "pictures_and_masks")  # the most common ones come first


def formats_text() -> str:
    """The documentation in Markdown: each data format's name, tasks, titles and examples."""
    of_name: dict[str, list[DataFormat]] = {}
    for data_format in FORMATS:
        of_name.setdefault(data_format.name, []).append(data_format)
    names = sorted(of_name, key=lambda name: name not in _GENERAL)
    return "\n\n".join(_paragraph(name, of_name[name]) for name in names)


def _paragraph(name: str, formats: Sequence[DataFormat]) -> str:
    tasks = " or ".join(dict.fromkeys(one.task for one in formats))
    titles = "; ".join(dict.fromkeys(one.title for one in formats))
    examples = list(dict.fromkeys(one.example for one in formats))
    apart = [one for one in examples if not any(one != other and one in other for other in examples)]
    shown = "\n\n".join(apart)
    return f"`{name}`, {tasks}: {titles}\n\n```\n{shown}\n```"
