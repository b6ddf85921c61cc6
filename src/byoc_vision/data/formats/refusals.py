"""What to say of data that no format reads: boxes alone, files of other programs, or the nearest formats."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from byoc_vision.data.formats.base import DataFormat, Inputs
from byoc_vision.data.formats.channels import split_named
from byoc_vision.data.formats.drawn import BOXES_ALONE
from byoc_vision.data.formats.image_mask_pairs import unpack_hint
from byoc_vision.data.formats.lists import read_head
from byoc_vision.data.formats.scan import Folder, counted
from byoc_vision.data.formats.stems import names_masks

_SPREADSHEETS = frozenset({".xlsx", ".xls", ".ods", ".numbers", ".parquet", ".feather"})
_HEAD = 16_384  # bytes
_TOOLS = {
    b'"shape_attributes"': "the VGG Image Annotator",
    b'"geometryType"': "Supervisely",
    b'"classTitle"': "Supervisely",
    b'"vertices"': "Labelbox or V7",
    b'"bounding_box"': "V7",
}
_COLUMNS = ({"xmin", "ymin", "xmax", "ymax"}, {"x_min", "y_min", "x_max", "y_max"}, {"x1", "y1", "x2", "y2"})
_SHOWN = 2
_USUAL = 0.1  # by which a general format is nearer than a special one
_LISTS = (".csv", ".tsv", ".lst", ".rec", ".manifest", ".jsonl", ".json", ".xml", ".yaml")
_NAMED = re.compile(r"([A-Za-z][\w.-]*)/|([A-Za-z][\w-]*\.[a-z]+)")
_WITH_OTHER_CSV = frozenset({"rle_csv", "masks_beside_images"})  # optional, or known by its header: `csv` is named
_PLACEHOLDERS = frozenset({"cat", "dog", "id", "a", "b", "deep", "images", "mask", "masks", "bucket"})  # in examples


def boxes_alone(inputs: Inputs) -> str | None:
    """What is wrong with a data set of Pascal VOC's XML or a CSV with boxes; None for other data.

    Folders of classes may hold such files, too: they are not needed for classification.
    """
    folder = inputs.first.images
    if len(folder.unwrapped()[-1].image_folders) > 1:
        return None
    found = next((path for path in _candidates(folder) if _holds_boxes(path)), None)
    return f"{found} {BOXES_ALONE}" if found else None


def _candidates(folder: Folder) -> list[Path]:
    """The first XML file of each folder, and the CSV files, at most two folders deep."""
    folders = [folder, *folder.folders, *(inner for outer in folder.folders for inner in outer.folders)]
    xml = [next((one.path / name for name in one.files if name.lower().endswith(".xml")), None) for one in folders]
    csv = [one.path / name for one in folders[:1] for name in one.files if name.lower().endswith(".csv")]
    return [path for path in (*xml, *csv) if path is not None]


def _holds_boxes(path: Path) -> bool:
    head = read_head(path, _HEAD)
    if path.suffix.lower() == ".xml":
        return b"<bndbox" in head
    columns = {name.strip().strip('"').lower() for name in head.split(b"\n")[0].decode("utf-8", "replace").split(",")}
    return any(each <= columns for each in _COLUMNS)


def files_of_other_programs(inputs: Inputs) -> str | None:
    """What is wrong with a spreadsheet, or with the JSON of a tool whose format is not read; None for other data."""
    files = (folder.path / name for folder in inputs.first_and_above for name in folder.files)
    if table := next((file for file in files if file.suffix.lower() in _SPREADSHEETS), None):
        return f"{table} is a table that is not read; save it as CSV, with a column of images and one of labels"
    for path in (path for folder in inputs.first_and_above for path in _json_files(folder)):
        head = read_head(path, _HEAD)
        if tool := next((tool for mark, tool in _TOOLS.items() if mark in head), None):
            return f"{path} is the JSON of {tool}, which is not read; export COCO JSON, or masks as PNG, from the tool"
    return None


def _json_files(folder: Folder, depth: int = 3) -> Iterator[Path]:
    """The first JSON file of each folder."""
    yield from [folder.path / name for name in folder.files if name.lower().endswith(".json")][:1]
    for inner in folder.folders if depth else ():
        yield from _json_files(inner, depth - 1)


def no_match(folder: Folder, formats: Sequence[DataFormat]) -> str:
    """The message for a folder that no format matches."""
    if (packed := unpack_hint([folder])) and not folder.has_images:
        return f"no images found in {folder.path}: it holds {contents(folder)}.{packed}"
    return (
        f"no known data layout found in {folder.path}: it holds {contents(folder)}.{_unread(folder)} "
        f"docs/data.md shows all layouts. The nearest:\n{_nearest(folder, formats)}"
    )


def _unread(folder: Folder) -> str:
    endings = folder.unread_endings()
    if not endings:
        return ""
    hint = f"image files need an ending such as .jpg or .png.{unpack_hint([folder])}"
    return f" Files that are not read as images: {counted(endings)}; {hint}"


def contents(folder: Folder) -> str:
    """What a folder holds, for messages: `3 × .txt, images/`."""
    kinds = Counter(Path(name).suffix.lower() or name for name in folder.files)
    contents = [f"{count} × {kind}" for kind, count in kinds.most_common(5)]
    contents += [f"{inner.name}/" for inner in folder.folders[:5]]
    contents += ["…"] if len(kinds) > 5 or len(folder.folders) > 5 else []
    return ", ".join(contents) or "nothing"


class Near(NamedTuple):
    """A format, how well the folder fits it, and what is missing."""

    data_format: DataFormat
    score: float
    missing: str


def _nearest(folder: Folder, formats: Sequence[DataFormat]) -> str:
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
