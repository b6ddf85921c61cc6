"""Which formats a folder resembles that matches none, and what it lacks for them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from byoc_vision.data.formats.base import DataFormat
from byoc_vision.data.formats.channels import split_named
from byoc_vision.data.formats.scan import Folder
from byoc_vision.data.formats.stems import names_masks

_SHOWN = 2
_USUAL = 0.1  # by which a general format is nearer than a special one
_LISTS = (".csv", ".tsv", ".lst", ".rec", ".manifest", ".jsonl", ".json", ".xml", ".yaml")
_NAMED = re.compile(r"([A-Za-z][\w.-]*)/|([A-Za-z][\w-]*\.[a-z]+)")
_WITH_OTHER_CSV = frozenset({"rle_csv", "masks_beside_images"})  # optional, or known by its header: `csv` is named
_PLACEHOLDERS = frozenset({"cat", "dog", "id", "a", "b", "deep", "images", "mask", "masks", "bucket"})  # in examples


class Near(NamedTuple):
    """A format, how well the folder fits it, and what is missing."""

    data_format: DataFormat
    score: float
    missing: str


def describe_nearest(folder: Folder, formats: Sequence[DataFormat]) -> str:
    """The two nearest formats of a folder, with what is missing and their examples, the nearest one last."""
    best: dict[str, Near] = {}
    for near in sorted(_rated(folder, formats), key=lambda near: -near.score):
        if all(near.missing != other.missing for other in best.values()):
            best.setdefault(near.data_format.name, near)
    return "\n".join(
        f"nearly {near.data_format.name} ({near.data_format.task}, {near.data_format.title}); missing: {near.missing}. "
        f"Expected:\n{near.data_format.example}"
        for near in reversed(list(best.values())[:_SHOWN])
    )


def _rated(folder: Folder, formats: Iterable[DataFormat]) -> Iterator[Near]:
    seen: set[str] = set()
    inner = _all_folders(folder)
    files = {name.lower() for one in inner for name in one.files}
    names = {one.name.lower() for one in inner[1:]}
    for data_format in formats:
        if data_format.example in seen or data_format.name in _WITH_OTHER_CSV:
            continue
        seen.add(data_format.example)
        if data_format.name == "class_folders":
            yield Near(data_format, 0.5, _lacks_of_classes(folder))
        elif data_format.name == "pictures_and_masks":
            masks = [one.name for one in inner[1:] if names_masks(one.name)]
            missing = f"images in {masks[0]}/ or beside it" if masks else "a folder of masks, such as masks/"
            yield Near(data_format, 0.75 if masks else 0.25, missing)
        elif marks := _marks(data_format):
            absent = [mark for mark in marks if not _is_there(mark, names, files)]
            if absent != marks:
                missing = ", ".join(absent) if absent else _lacks_of_lists(folder)
                usual = _USUAL if data_format.name == "csv" else 0
                yield Near(data_format, 1 + usual + (len(marks) - len(absent)) / len(marks), missing)


def _all_folders(folder: Folder) -> list[Folder]:
    return [folder, *(below for one in folder.folders for below in _all_folders(one))]


def _marks(data_format: DataFormat) -> list[str]:
    """The names that an example cannot do without: `JPEGImages/`, `.csv`, `list.txt`; no placeholders or splits."""
    marks: dict[str, None] = {}
    for name, file in _NAMED.findall(data_format.example):
        plain = (name or file.rpartition(".")[0]).lower()
        ending = "." + file.rpartition(".")[2] if file else ""
        if ending in _LISTS:
            marks[ending] = None
        elif name and plain not in _PLACEHOLDERS and split_named(plain.partition("_")[0]) is None:
            marks[f"{name}/"] = None
    return list(marks)


def _is_there(mark: str, folders: set[str], files: set[str]) -> bool:
    return mark[:-1].lower() in folders if mark.endswith("/") else any(name.endswith(mark) for name in files)


def _lacks_of_classes(folder: Folder) -> str:
    if folder.image_names:
        return f"a folder for each class; {len(folder.image_names):,} images lie directly in {folder.path}"
    if not folder.has_images:
        return "images with a known ending in the folders of the classes"
    return "a folder for each class, with its images"


def _lacks_of_lists(folder: Folder) -> str:
    lists = [name for name in folder.files if name.lower().endswith(_LISTS)]
    if not lists:
        return f"the list directly in {folder.path}"
    return f"a column or a field in {lists[0]} whose values name images of this folder (image_column chooses one)"
