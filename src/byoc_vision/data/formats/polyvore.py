"""Polyvore's outfits, for classification of single pieces of clothing by their category.

Han, Wu, Jiang, Davis: Learning fashion compatibility with bidirectional LSTMs (2017);
https://github.com/xthan/polyvore-dataset
"""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from byoc_vision.data.formats.base import Inputs, ParsedDataset
from byoc_vision.data.formats.label_parsing import without_small_classes
from byoc_vision.data.formats.lists import read_lines, read_text
from byoc_vision.data.formats.scan import Folder
from byoc_vision.data.samples import DataOptions, Sample
from byoc_vision.errors import DataError, list_problems
from byoc_vision.types import ClassInfo, Task

logger = logging.getLogger(__name__)

MIN_CLASS_COUNT = 50
TOLERATED_MISSING = 0.01  # of the items: a few images were never available
_SHOWN = 5

_SPLIT_OF_LIST = re.compile(r"(train|valid|validation|val|test)([_.-].*)?")
_CATEGORY_LINE = re.compile(r"([0-9]+)[\s,;]+([^\s,;].*)")


class Item(NamedTuple):
    """A piece of an outfit. image: the stem of its image. place: file, outfit and item."""

    set_id: str
    image: str
    category: int
    place: str


class Polyvore:
    """`images/SET/INDEX.jpg`, lists of outfits by split, and the categories' names."""

    name = "polyvore"
    task: Task = "classification"
    title = "Polyvore's outfits"
    example = (
        "train/images/100002074/1.jpg, 2.jpg, …\n"
        "train/train_no_dup.json, valid_no_dup.json, test_no_dup.json\n"
        "train/category_id.txt"
    )

    def matches(self, inputs: Inputs) -> bool:
        root = _root(inputs.first.images)
        return root is not None and bool(_lists(root))

    def read(self, inputs: Inputs, options: DataOptions, classes: Sequence[ClassInfo] = ()) -> ParsedDataset:
        pieces: dict[str, list[tuple[Path, Item]]] = {}
        names: dict[int, str] = {}
        for split, given in inputs.splits.items():
            root = _root(given.images)
            lists = _lists(root) if root else {}
            if root is None or not lists:
                raise DataError(f"{given.images.path} holds no Polyvore outfits. Expected:\n{self.example}")
            names |= _category_names(root)
            if given is not inputs.first or split not in lists:
                lists = {split: [name for listed in lists.values() for name in listed]}
            for part, listed in lists.items():
                pieces[part] = _images(root, [item for name in listed for item in _items(root, name)])
        return _found(pieces, names, options, classes)


def _found(
    pieces: Mapping[str, Sequence[tuple[Path, Item]]],
    names: Mapping[int, str],
    options: DataOptions,
    classes: Sequence[ClassInfo],
) -> ParsedDataset:
    training = "train" if "train" in pieces else next(iter(pieces))
    categories = sorted({item.category for _, item in pieces[training]})
    name_of = _distinct_names(categories, names)
    known = [entry.name for entry in classes] or list(name_of.values())
    label_of = {category: known.index(name) for category, name in name_of.items() if name in known}
    samples = {
        split: [
            Sample(image, label=label_of[item.category], group=item.set_id)
            for image, item in held
            if item.category in label_of
        ]
        for split, held in pieces.items()
    }
    for split, held in pieces.items():
        if dropped := len(held) - len(samples[split]):
            logger.info("%s items of categories without training images, which are not read: %d", split, dropped)
    if classes:
        return ParsedDataset({split: tuple(held) for split, held in samples.items()}, tuple(classes))
    minimum = MIN_CLASS_COUNT if options.min_class_count is None else options.min_class_count
    kept, named = without_small_classes(samples, known, minimum)
    return ParsedDataset(kept, named)


def _root(folder: Folder) -> Folder | None:
    """The folder with images/SET/INDEX.jpg: this one, or a single one in it."""
    return next((root for root in folder.unwrapped() if _looks_like_sets(_image_folder(root))), None)


def _image_folder(root: Folder) -> Folder | None:
    return next(iter(root.named("images")), None)


def _looks_like_sets(images: Folder | None) -> bool:
    first = next((inner for inner in images.folders if inner.image_names), None) if images else None
    return first is not None and first.name.isdecimal() and Path(first.image_names[0]).stem.isdecimal()


def _lists(root: Folder) -> dict[str, list[str]]:
    """Split → its list files. Lists without a split in their name are for training, if it has no other."""
    lists: dict[str, list[str]] = {}
    others: list[str] = []
    for name in root.files:
        if Path(name).suffix.lower() != ".json" or name.lower().startswith("category"):
            continue
        match = _SPLIT_OF_LIST.fullmatch(Path(name).stem.lower())
        if match:
            lists.setdefault("validation" if match[1].startswith("val") else match[1], []).append(name)
        else:
            others.append(name)
    return lists if "train" in lists or not others else {"train": others, **lists}


def _items(root: Folder, name: str) -> list[Item]:
    """All items of a list of outfits. Raises DataError that names the invalid outfits."""
    path = root.path / name
    try:
        outfits = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {error}") from error
    if not isinstance(outfits, list):
        raise DataError(f'{path} must hold a list of outfits, [{{"set_id": …, "items": […]}}, …]')
    items: list[Item] = []
    problems: list[str] = []
    for number, outfit in enumerate(outfits, start=1):
        try:
            items += _items_of(outfit, f"{path}, outfit {number}")
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataError(list_problems("outfits that cannot be read; fix or remove them:", problems))
    return items


def _items_of(outfit: Any, place: str) -> list[Item]:
    if not isinstance(outfit, dict) or not isinstance(outfit.get("items"), list) or "set_id" not in outfit:
        raise DataError(f"{place}: expected an object with 'set_id' and a list 'items'")
    items = []
    for number, item in enumerate(outfit["items"], start=1):
        lacking = [key for key in ("index", "categoryid") if not isinstance(item, dict) or key not in item]
        if lacking:
            raise DataError(f"{place}, item {number}: {' and '.join(map(repr, lacking))} missing")
        if not str(item["categoryid"]).isdecimal():
            raise DataError(f"{place}, item {number}: 'categoryid' is {item['categoryid']!r}, not a number")
        items.append(
            Item(str(outfit["set_id"]), str(item["index"]), int(item["categoryid"]), f"{place}, item {number}")
        )
    return items


def _images(root: Folder, items: Sequence[Item]) -> list[tuple[Path, Item]]:
    """Each item with its image. A few without an image are left out, with a warning."""
    images = _image_folder(root)
    sets = {inner.name: inner for inner in images.folders} if images else {}
    names_of = {
        set_id: {name.rpartition(".")[0]: name for name in sets[set_id].image_names}
        for set_id in {item.set_id for item in items}
        if set_id in sets
    }
    found: list[tuple[Path, Item]] = []
    missing: list[str] = []
    for item in items:
        if name := names_of.get(item.set_id, {}).get(item.image):
            found.append((sets[item.set_id].path / name, item))
        else:
            missing.append(f"{item.place}: there is no images/{item.set_id}/{item.image}.jpg")
    if len(missing) > TOLERATED_MISSING * (len(found) + len(missing)):
        headline = f"{len(missing)} of {len(found) + len(missing)} items in {root.path} have no image; unpack all:"
        raise DataError(list_problems(headline, missing))
    if missing:
        shown = "; ".join(missing[:_SHOWN])
        logger.warning("items without an image are left out: %d, such as %s", len(missing), shown)
    return found


def _category_names(root: Folder) -> dict[int, str]:
    """Category → name, from `category_id.txt` or another text or CSV file whose name begins with `categor`."""
    files = [name for name in root.files if re.fullmatch(r"categor.*\.(txt|csv)", name.lower())]
    if not files:
        return {}
    chosen = "category_id.txt" if "category_id.txt" in files else files[0]
    names: dict[int, str] = {}
    problems: list[str] = []
    for number, (place, text) in enumerate(read_lines(root.path / chosen)):
        match = _CATEGORY_LINE.fullmatch(text)
        if match:
            names[int(match[1])] = match[2].strip('"')
        elif number > 0:  # the first line may be a header
            problems.append(f"{place}: expected a number and a name, such as '17 Coats'; found {text[:80]!r}")
    if problems:
        raise DataError(list_problems("the categories' names cannot be read:", problems))
    return names


def _distinct_names(categories: Sequence[int], names: Mapping[int, str]) -> dict[int, str]:
    """A class name for each category; the number distinguishes categories with the same name."""
    counts = Counter(names.values())
    plain = {category: names.get(category, f"category {category}") for category in categories}
    return {category: name if counts[name] <= 1 else f"{name} ({category})" for category, name in plain.items()}
