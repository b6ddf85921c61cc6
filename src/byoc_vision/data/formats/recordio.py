"""Classification: images with their labels in RecordIO files, as im2rec packs them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from byoc_vision.data.fileformat import identify
from byoc_vision.data.formats.base import Inputs, ParsedDataset
from byoc_vision.data.formats.label_parsing import Entry, Labels, class_number, labelled_dataset, multi_hot
from byoc_vision.data.formats.lists import by_split, noting, report_problems
from byoc_vision.data.recordio import RECORDIO_SUFFIX, index_records, read_first, unpack
from byoc_vision.data.samples import DataOptions
from byoc_vision.errors import DataError
from byoc_vision.types import ClassInfo, Task

_HEAD = 16  # bytes that identify the image format


class RecordIo:
    """`.rec` files with a label in im2rec's header, or, packed with `--pack-label`, a 0 or a 1 for each class.

    Labels are numbers of classes, from 0, which are called `class_0`, `class_1`, …; `.idx` and `.lst` beside are not
    read. The images are not copied: each sample is a range of the file.
    Source: "Image Classification - MXNet", Train with RecordIO Format, in the SageMaker developer guide; MXNet's
    tools/im2rec.py.
    """

    name = "recordio"
    task: Task = "classification"
    title = "images in RecordIO files"
    example = "train/train.rec\nvalidation/validation.rec"

    def matches(self, inputs: Inputs) -> bool:
        return any(name.lower().endswith(RECORDIO_SUFFIX) for name in inputs.first.images.files)

    def read(self, inputs: Inputs, options: DataOptions, classes: Sequence[ClassInfo] = ()) -> ParsedDataset:
        entries: dict[str, list[Entry]] = {}
        for split, folder in inputs.splits.items():
            problems: list[str] = []
            files = [name for name in folder.images.files if name.lower().endswith(RECORDIO_SUFFIX)]
            if not files:
                raise DataError(f"{folder.images.path} holds no {RECORDIO_SUFFIX} file, unlike the training channel")
            entries[split] = [entry for name in files for entry in _entries(folder.images.path / name, problems)]
            report_problems(f"records in {folder.images.path} that cannot be used:", problems, options)
        return labelled_dataset(by_split(entries, inputs), options, classes)


def _entries(path: Path, problems: list[str]) -> Iterator[Entry]:
    for record in index_records(path):
        packed = unpack(record, path)
        with noting(problems, str(packed.image)):
            labels = Labels((class_number(packed.labels[0]),)) if len(packed.labels) == 1 else multi_hot(packed.labels)
            if identify(read_first(packed.image, _HEAD)) is None:
                raise ValueError("there is no image after im2rec's header; make the file with im2rec")
            yield Entry(str(packed.image), packed.image, labels)
