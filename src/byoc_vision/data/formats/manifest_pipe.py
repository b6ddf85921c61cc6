"""Records that came through a pipe from an augmented manifest: each image is followed by its label or mask.

Source: "Provide Dataset Metadata to Training Jobs with an Augmented Manifest File" in the SageMaker developer guide.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from byoc_vision.data.fileformat import identify
from byoc_vision.data.formats.base import Inputs, ParsedDataset
from byoc_vision.data.formats.label_parsing import Entry, as_multi_hot, labelled_dataset, parse_label
from byoc_vision.data.formats.lists import MaskEntry, by_split, masked_dataset, noting, report_problems
from byoc_vision.data.recordio import RECORDS_SUFFIX, index_records, read_first
from byoc_vision.data.samples import ByteRange, DataOptions
from byoc_vision.errors import DataError
from byoc_vision.types import ClassInfo, Task

_REMEDY = 'give the channel two attributes, the image first: AttributeNames=["source-ref", LABEL_OR_MASK_REF]'
_HEAD = 16  # bytes that identify the image format
_EXAMPLE = 'TrainingInputMode: Pipe, RecordWrapperType: RecordIO, AttributeNames: ["source-ref", "{}"]'


class _Pair(NamedTuple):
    image: ByteRange
    target: ByteRange


class LabelRecords:
    """Classification: every second record is a label, as text: `3`, `"3"`, `cat` or `[0, 1, 1]`."""

    name = "manifest"
    task: Task = "classification"
    title = "images and labels from augmented manifests, through pipes"
    example = _EXAMPLE.format("class")

    def matches(self, inputs: Inputs) -> bool:
        return bool(_files(inputs.first.images.files)) and not _holds_masks(inputs)

    def read(self, inputs: Inputs, options: DataOptions, classes: Sequence[ClassInfo] = ()) -> ParsedDataset:
        entries: dict[str, list[Entry]] = {split: [] for split in inputs.splits}
        problems: list[str] = []
        for split, pair in _pairs(inputs):
            with noting(problems, str(pair.target)):
                entries[split].append(Entry(str(pair.target), pair.image, parse_label(_text(pair.target))))
        report_problems("labels that cannot be used:", problems, options)
        listed = as_multi_hot(by_split(entries, inputs), options.num_classes)
        return labelled_dataset(listed, options, classes)


class MaskRecords:
    """Segmentation: every second record is a mask, a PNG."""

    name = "manifest"
    task: Task = "segmentation"
    title = "images and masks from augmented manifests, through pipes"
    example = _EXAMPLE.format("mask-ref")

    def matches(self, inputs: Inputs) -> bool:
        return bool(_files(inputs.first.images.files)) and _holds_masks(inputs)

    def read(self, inputs: Inputs, options: DataOptions, classes: Sequence[ClassInfo] = ()) -> ParsedDataset:
        entries: dict[str, list[MaskEntry]] = {split: [] for split in inputs.splits}
        problems: list[str] = []
        for split, pair in _pairs(inputs):
            if identify(read_first(pair.target, _HEAD)) != "PNG":
                problems.append(f"{pair.target}: this is not a PNG mask; {_REMEDY}")
                continue
            entries[split].append(MaskEntry(str(pair.target), pair.image, pair.target))
        report_problems("masks that cannot be used:", problems, options)
        return masked_dataset(by_split(entries, inputs), options)


def _text(target: ByteRange) -> str:
    try:
        return read_first(target, target.size).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError("the label is not text") from error


def _files(names: Sequence[str]) -> list[str]:
    return [name for name in names if name.endswith(RECORDS_SUFFIX)]


def _holds_masks(inputs: Inputs) -> bool:
    """Whether the first target is an image."""
    folder = inputs.first.images
    path = folder.path / _files(folder.files)[0]
    targets = index_records(path, most=2)[1:]
    return any(identify(read_first(target.byte_range(path), _HEAD)) is not None for target in targets)


def _pairs(inputs: Inputs) -> Iterator[tuple[str, _Pair]]:
    """Each image and the record after it, by split. Raises DataError if the records do not come in pairs."""
    for split, folder in inputs.splits.items():
        files = _files(folder.images.files)
        if not files:
            raise DataError(
                f"the channel {split} does not come through a pipe, but the channel train does; use Pipe mode for both"
            )
        for name in files:
            for pair in _pairs_of(folder.images.path / name):
                yield split, pair


def _pairs_of(path: Path) -> Iterator[_Pair]:
    slices = [record.byte_range(path) for record in index_records(path)]
    for image in slices[::2]:
        if identify(read_first(image, _HEAD)) is None:
            raise DataError(f"{image} should be an image, but is not; {_REMEDY}")
    if len(slices) % 2:
        raise DataError(f"{slices[-1]} is an image without a following record; {_REMEDY}")
    yield from (_Pair(*pair) for pair in zip(slices[::2], slices[1::2], strict=True))
