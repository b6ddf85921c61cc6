"""Classification: images and a `.lst` file with their labels, as for SageMaker's built-in Image Classification."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from byoc_vision.data.formats.base import Inputs, ParsedDataset
from byoc_vision.data.formats.label_parsing import Entry, Labels, class_number, labelled_dataset, multi_hot
from byoc_vision.data.formats.lists import (
    Line,
    ListFile,
    by_split,
    check_lists,
    find_lists,
    noting,
    read_lines,
    report_list_problems,
)
from byoc_vision.data.samples import DataOptions
from byoc_vision.types import ClassInfo, Task


class Lst:
    """Lines of index, label and path below the channel, separated by tabs; the label is the number of a class.

    Several labels in a line are a 0 or a 1 for each class (multi-label). Classes are called `class_0`, `class_1`, …
    Source: "Image Classification - MXNet", Train with Image Format, in the SageMaker developer guide.
    """

    name = "lst"
    task: Task = "classification"
    title = "images listed in .lst files"
    example = (
        "train/cat/1.jpg, dog/2.jpg, …     train_lst/train.lst, or train/train.lst, a line per image:\n"
        "validation/cat/3.jpg, …               0<TAB>1<TAB>dog/2.jpg\n"
        "validation_lst/validation.lst     several labels: 0<TAB>1<TAB>0<TAB>1<TAB>dog/2.jpg"
    )

    def matches(self, inputs: Inputs) -> bool:
        return bool(_lists(inputs))

    def read(self, inputs: Inputs, options: DataOptions, classes: Sequence[ClassInfo] = ()) -> ParsedDataset:
        lists = _lists(inputs)
        check_lists(lists, inputs)
        entries: dict[str, list[Entry]] = defaultdict(list)
        problems: list[str] = []
        for file in lists:
            lines = list(read_lines(file.path))
            tabs = max(2, lines[0].text.count("\t")) if lines else 2
            for line in lines:
                with noting(problems, line.place):
                    entry = _entry(line, file, tabs)
                    entries[file.split_of(entry.image)].append(entry)
        report_list_problems("lines", lists, problems, options)
        return labelled_dataset(by_split(entries, inputs), options, classes)


def _lists(inputs: Inputs) -> list[ListFile]:
    # A list beside a RecordIO file is the one from which im2rec made the file.
    if any(name.lower().endswith(".rec") for name in inputs.first.images.files):
        return []
    return find_lists(inputs, (".lst",), channel="lst")


def _entry(line: Line, file: ListFile, tabs: int) -> Entry:
    """A line with this number of tabs as an entry. Raises ValueError that says what is wrong."""
    fields = [field.strip() for field in line.text.split("\t")]
    if len(fields) - 1 != tabs:
        raise ValueError(
            f"there are {len(fields) - 1} tabs instead of {tabs}; a line is index<TAB>label<TAB>path, with the same "
            "number of labels in each"
        )
    image = file.images.exact(fields[-1]) or file.images.exact(fields[-1].replace("\\", "/"))
    if image is None:
        folders = " or ".join(str(folder.path) for folder in file.images.folders)
        raise ValueError(f"there is no image {fields[-1]!r} in {folders}; add it or remove the line")
    labels = multi_hot(fields[1:-1]) if len(fields) > 3 else Labels((class_number(fields[1]),))
    return Entry(line.place, image, labels)
