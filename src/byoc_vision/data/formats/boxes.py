"""Recognises annotations that this package does not train on, to say so by their name: boxes, and other tools'."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from byoc_vision.data.formats.base import Inputs
from byoc_vision.data.formats.drawn import BOXES_ALONE
from byoc_vision.data.formats.lists import read_head
from byoc_vision.data.formats.scan import Folder

_HEAD = 16_384  # bytes
_TOOLS = {
    b'"shape_attributes"': "the VGG Image Annotator",
    b'"geometryType"': "Supervisely",
    b'"classTitle"': "Supervisely",
    b'"vertices"': "Labelbox or V7",
    b'"bounding_box"': "V7",
}
_COLUMNS = ({"xmin", "ymin", "xmax", "ymax"}, {"x_min", "y_min", "x_max", "y_max"}, {"x1", "y1", "x2", "y2"})


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


def other_annotations(inputs: Inputs) -> str | None:
    """What is wrong with the JSON of a tool whose format is not read; None for other data."""
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
