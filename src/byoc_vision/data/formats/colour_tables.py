"""The classes of masks in colours, from the files that labelling tools and data sets put beside them.

`labelmap.txt` (CVAT), `_classes.csv` (Roboflow), `class_dict.csv`, `label_colors.txt` (CamVid), `classes.json`,
`meta.json` (Supervisely), the colours of Ground Truth's manifests, or the hyperparameter `mask_colors`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from byoc_vision.colours import parse_colour, to_hex
from byoc_vision.data.formats.base import Inputs, ParsedDataset
from byoc_vision.data.formats.lists import read_lines, read_rows, read_text
from byoc_vision.data.formats.scan import Folder
from byoc_vision.data.mask_colours import MOST_COLOURS
from byoc_vision.data.samples import ColourMap, DataOptions
from byoc_vision.errors import DataError, InputError
from byoc_vision.preprocess import IGNORED
from byoc_vision.types import ClassInfo

_FILES = re.compile(r"_?(class|label|colou?r|meta|legend).*\.(txt|csv|json)", re.IGNORECASE)
_IGNORED_NAMES = frozenset({"ignore", "ignored", "void"})
_NAME_COLUMNS = ("name", "class", "label", "class_name", "label_name", "class name", "category")
_LEVELS = (("r", "g", "b"), ("red", "green", "blue"))
_COLOUR_COLUMNS = ("color", "colour", "hex", "rgb", "color_rgb", "hex-color")


class Row(NamedTuple):
    """A class of a table. colour: 0xRRGGBB. value: the pixel value of a table that gives these instead."""

    name: str
    colour: int | None
    value: int | None = None


class Table(NamedTuple):
    """The classes in the order of the file. title: the file, for messages."""

    title: str
    rows: tuple[Row, ...]


def with_colours(
    found: ParsedDataset,
    inputs: Inputs,
    options: DataOptions,
    classes: Sequence[ClassInfo] = (),
    beside: Iterable[Folder] = (),
) -> ParsedDataset:
    """Samples with masks, with the classes that a table names, if there is one.

    beside: further folders where the table may be, such as those of the masks.
    classes: of the model that is evaluated: its classes and their colours count, whatever the labels in the table.

    Raises:
        DataError: the table cannot be read, or is contradictory.
    """
    if found.classes or any(sample.mask_map for samples in found.samples.values() for sample in samples):
        return found
    table = _given(options) or _of_model(classes) or find_table(inputs, beside)
    if table is None:
        return found
    if not all(row.colour is not None for row in table.rows):
        named = tuple(ClassInfo(row.name, row.value) for row in table.rows)
        return replace(
            found, classes=named, ignore_value=IGNORED if all(row.value != IGNORED for row in table.rows) else None
        )
    colour_map, named = _to_map(table, classes)
    coloured = found.mapped(lambda sample: replace(sample, mask_map=colour_map) if sample.mask else sample)
    return replace(coloured, classes=named, ignore_value=IGNORED)


def find_table(inputs: Inputs, beside: Iterable[Folder] = ()) -> Table | None:
    """The first table in the folders of the splits, above them, or in `beside`."""
    folders: list[Folder] = []
    for split in inputs.splits.values():
        folders += [*split.images.unwrapped(), *((split.masks,) if split.masks else ())]
        folders += [split.parent] if split.parent else []
        folders += split.images.folders
    seen = {folder.path: folder for folder in (*folders, *beside)}
    for folder in seen.values():
        for name in folder.files:
            if _FILES.fullmatch(name) and (table := read_table(folder.path / name)):
                return table
    return None


def read_table(path: Path) -> Table | None:
    """The classes in a file; None if it holds something else. Raises DataError if rows contradict each other."""
    read = {".txt": _from_text, ".csv": _from_csv, ".json": _from_json}[path.suffix.lower()]
    rows = tuple(read(path))
    if len(rows) < 2:
        return None
    _check(path, rows)
    return Table(str(path), rows)


def colours_of_manifest(colours: Mapping[str, Any]) -> dict[str, int]:
    """Class → colour of Ground Truth's `internal-color-map`: `{"1": {"class-name": "car", "hex-color": "#2acf59"}}`."""
    rows = [row for entry in colours.values() if isinstance(entry, dict) and (row := _row(entry))]
    return {row.name: row.colour for row in rows if row.colour is not None}


def _given(options: DataOptions) -> Table | None:
    if not options.mask_colors:
        return None
    return Table("mask_colors", tuple(Row(name, colour) for name, colour in options.mask_colors))


def _of_model(classes: Sequence[ClassInfo]) -> Table | None:
    colours = [Row(entry.name, parse_colour(entry.color)) for entry in classes]
    return Table("the model", tuple(colours)) if colours and all(row.colour is not None for row in colours) else None


def _to_map(table: Table, classes: Sequence[ClassInfo]) -> tuple[ColourMap, tuple[ClassInfo, ...]]:
    """The map, and the classes in the order of the table; those of a model keep their values."""
    value_of = {entry.name: entry.value for entry in classes}
    pairs: list[tuple[int, int]] = []
    labels: list[int] = []
    named: list[ClassInfo] = []
    for row in table.rows:
        is_ignored = row.name.casefold() in _IGNORED_NAMES or (bool(classes) and row.name not in value_of)
        known = value_of.get(row.name)
        label = IGNORED if is_ignored else len(named) if known is None else known
        if not is_ignored and all(row.name != entry.name for entry in named):
            named.append(ClassInfo(row.name, label, to_hex(row.colour or 0)))
            value_of[row.name] = label  # a class may have several colours
        pairs.append((row.colour or 0, label))
        labels.append(label)
    if len(named) > MOST_COLOURS:
        raise InputError(f"{table.title} names {len(named)} classes; 8-bit masks can have {MOST_COLOURS}")
    return ColourMap(table.title, tuple(pairs), tuple(labels)), tuple(classes) or tuple(named)


def _check(path: Path, rows: Sequence[Row]) -> None:
    for what, values in (("colour", [row.colour for row in rows]), ("value", [row.value for row in rows])):
        doubled = next((value for value in values if value is not None and values.count(value) > 1), None)
        if doubled is not None:
            names = " and ".join(row.name for row in rows if doubled in (row.colour, row.value))
            shown = to_hex(doubled) if what == "colour" else doubled
            raise DataError(f"{path}: {names} have the same {what} {shown}; give each class its own")


def _from_text(path: Path) -> Iterator[Row]:
    """`name:128,0,0::` of CVAT, or `128 0 0<TAB>name` of CamVid; nothing if a line is something else."""
    rows = []
    for _, text in read_lines(path):
        name, colon, rest = text.partition(":")
        colour = parse_colour(rest.partition(":")[0]) if colon else None
        if colour is None:
            *levels, name = text.split(maxsplit=3) if text[:1].isdigit() else ("", "")
            colour = parse_colour(levels)
        if colour is None:
            return
        rows.append(Row(name.strip(), colour))
    yield from rows


def _from_csv(path: Path) -> Iterator[Row]:
    """A column of names, and the colour in one column or three, or the column `Pixel Value`."""
    rows = read_rows(path)
    header = [name.strip().lower() for row in islice(rows, 1) for name in row.cells]
    columns = {name: place for place, name in enumerate(header) if name}
    name = next((columns[one] for one in _NAME_COLUMNS if one in columns), None)
    levels = next(([columns[level] for level in each] for each in _LEVELS if columns.keys() >= set(each)), None)
    single = next((columns[one] for one in _COLOUR_COLUMNS if one in columns), None)
    value = columns.get("pixel value")
    if name is None or (levels is None and single is None and value is None):
        return
    for row in rows:
        title, text = row.cell(name) or "", row.cell(value) or ""
        colour = parse_colour([row.cell(level) for level in levels] if levels else row.cell(single))
        if text.isdecimal() and int(text) < IGNORED + 1:
            yield Row(title, None, int(text))
        elif colour is not None:
            yield Row(title, colour)
        else:
            wanted = "a colour, such as 128, 0, 0 or #800000" if value is None else "a pixel value, 0–255"
            raise DataError(f"{row.place}: {title!r} has not {wanted}")


def _from_json(path: Path) -> Iterator[Row]:
    """`[{"name", "color"}]`, also below `classes`; `{"car": "#800000"}`; or Ground Truth's map."""
    try:
        content = json.loads(read_text(path))
    except (ValueError, RecursionError):
        return
    if isinstance(content, dict) and isinstance(content.get("classes"), list):
        content = content["classes"]
    if isinstance(content, dict):
        yield from _named_entries(content)
    elif isinstance(content, list):
        for entry in content:
            row = _row(entry) if isinstance(entry, dict) else None
            if row is None:
                return
            yield row


def _named_entries(content: Mapping[str, Any]) -> Iterator[Row]:
    for key, entry in content.items():
        row = _row(entry) if isinstance(entry, dict) else None
        colour = parse_colour(entry)
        if row is None and colour is None:
            return
        yield row or Row(key, colour)


def _row(entry: Mapping[str, Any]) -> Row | None:
    name = next((entry[key] for key in ("name", "title", "class-name", "label") if key in entry), None)
    colour = next((parse_colour(entry[key]) for key in ("color", "colour", "hex-color") if key in entry), None)
    return Row(str(name), colour) if name is not None and colour is not None else None
