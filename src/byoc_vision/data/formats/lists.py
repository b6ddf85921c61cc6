"""Files that list images: where they are, which split each is for, and which file a name in them means."""

from __future__ import annotations

import csv
import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from byoc_vision.data.formats.base import Inputs, ParsedDataset
from byoc_vision.data.formats.channels import SPLIT_NAMES
from byoc_vision.data.formats.scan import Folder
from byoc_vision.data.samples import DataOptions, ImageSource, MaskMap, Sample
from byoc_vision.errors import DataError, list_problems
from byoc_vision.preprocess import IGNORED
from byoc_vision.types import ClassInfo

logger = logging.getLogger(__name__)


class Line(NamedTuple):
    """A line of a list that is not blank or a comment. place: file and line, for messages."""

    place: str
    text: str


def read_text(path: Path) -> str:
    """Raises DataError if the file cannot be read or is not UTF-8 text."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start:,}); save it as UTF-8") from error


def read_lines(path: Path, comment: str = "#") -> Iterator[Line]:
    """The lines of a list, without blank ones and those that begin with `comment`."""
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        text = line.strip()
        if text and not text.startswith(comment):
            yield Line(f"{path}, line {number}", text)


@dataclass(frozen=True)
class Row:
    """A row of a table that is not blank. place: file and line, for messages."""

    place: str
    cells: list[str]

    def cell(self, column: int | None) -> str | None:
        """The text of a cell; None if there is no such column, or if the cell is empty."""
        return (self.cells[column].strip() or None) if column is not None and column < len(self.cells) else None


def read_rows(path: Path, longest: int = 2**17) -> Iterator[Row]:
    """The rows of a table, whose cells commas, semicolons, tabs or bars separate.

    longest: characters of a cell; a quote that is not closed makes longer ones.
    Raises DataError.
    """
    csv.field_size_limit(longest)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            head = next((line for line in file if line.strip()), "")
            file.seek(0)
            reader = csv.reader(file, delimiter=max(_DELIMITERS, key=head.count), skipinitialspace=True)
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    yield Row(f"{path}, line {reader.line_num}", cells)
    except (OSError, UnicodeDecodeError):
        read_text(path)  # raises the error that says what is wrong, and where
        raise
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not a CSV file ({error}); save the table again") from error


@contextmanager
def noting(problems: list[str], place: str) -> Iterator[None]:
    """Adds the ValueError of a line, a row or a record to the problems, with its place."""
    try:
        yield
    except ValueError as error:
        problems.append(f"{place}: {error}")


def read_head(path: Path, size: int) -> bytes:
    """The first bytes of a file; none if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError:
        return b""


Item = TypeVar("Item")
_DELIMITERS = ",;\t|"

_SPLIT_WORDS = {**SPLIT_NAMES, "publictest": "validation", "privatetest": "test"}  # also FER2013's
# Submission templates of competitions: they list images with made-up labels.
_FORMS = re.compile("submission", re.IGNORECASE)


def split_of(word: str) -> str | None:
    """The split that a word means, such as `val`; None if it does not mean one."""
    return _SPLIT_WORDS.get(word.strip().lower())


@dataclass(frozen=True)
class ImageIndex:
    """The images of some folders, found by their names in lists. Uses only the listing of the folders."""

    folders: tuple[Folder, ...]

    @cached_property
    def _by_path(self) -> dict[str, Path]:
        """Relative path → the folder that it is below."""
        found: dict[str, Path] = {}
        for folder in self.folders:
            for image in folder.image_paths():
                found.setdefault(image, folder.path)
        return found

    @cached_property
    def _of_name(self) -> dict[str, list[str]]:
        return images_by_name(self._by_path)

    def exact(self, text: str) -> Path | None:
        """The image with this relative path."""
        return self._path(text.removeprefix("./"))

    def _path(self, relative: str) -> Path | None:
        root = self._by_path.get(relative)
        return None if root is None else root / relative

    def find(self, text: str) -> Path | str:
        """The image that a list gives by a relative path, an S3 address, or a name without ending; or what is wrong.

        The image is the one whose relative path is the longest tail of `text`; otherwise the only one whose path ends
        with `text`, or with `text` and an ending.
        """
        tails = tails_of(text)
        for tail in tails:
            if (found := self._path(tail)) is not None:
                return found
        ends = ending_with(self._of_name, tails[0])
        if len(ends) == 1:
            return self._by_path[ends[0]] / ends[0]
        where = " or ".join(str(folder.path) for folder in self.folders)
        if ends:
            return f"{text!r} may be {ends[0]} or {ends[1]} in {where}; add the folder and the ending"
        return f"there is no image {text!r} in {where}; add it or remove the line"

    def one(self, text: str) -> Path:
        """As `find`. Raises ValueError that says what is wrong."""
        found = self.find(text)
        if isinstance(found, str):
            raise ValueError(found)
        return found


def images_by_name(paths: Iterable[str]) -> dict[str, list[str]]:
    """File name, with and without the ending → paths."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        name = path.rpartition("/")[2]
        for one in {name, name.rpartition(".")[0] or name}:
            found[one].append(path)
    return found


def tails_of(text: str) -> list[str]:
    """`a/b/1.jpg`, `b/1.jpg` and `1.jpg` of a path in a list."""
    parts = [part for part in text.replace("\\", "/").split("/") if part not in ("", ".")]
    return ["/".join(parts[start:]) for start in range(len(parts))] or [""]


def ending_with(of_name: Mapping[str, list[str]], tail: str) -> list[str]:
    """The paths that end with a tail, whose ending may be missing."""
    found = []
    for path in of_name.get(tail.rpartition("/")[2], []):
        folder, slash, file = path.rpartition("/")
        without_ending = f"{folder}{slash}{file.rpartition('.')[0] or file}"
        if any(f"/{candidate}".endswith(f"/{tail}") for candidate in (path, without_ending)):
            found.append(path)
    return found


class NamesImage(Protocol):
    """A line that names an image. where: the place of the line in messages."""

    @property
    def where(self) -> str: ...

    @property
    def image(self) -> ImageSource: ...


@dataclass(frozen=True)
class ListFile:
    """A file that lists images.

    split: of all its images; None if its lines, or the folders of its images, tell the split.
    images: where its images are looked up. masks: where its masks are looked up.
    folders: of the splits, if the file is above them.
    """

    path: Path
    split: str | None
    images: ImageIndex
    masks: ImageIndex
    folders: Mapping[str, Path]

    def split_of(self, image: ImageSource) -> str:
        """The split of the whole list, otherwise the one whose folder contains the image, otherwise training."""
        path = image if isinstance(image, Path) else image.path
        of_folder = (split for split, folder in self.folders.items() if path.is_relative_to(folder))
        return self.split or next(of_folder, "train")


def find_lists(inputs: Inputs, endings: tuple[str, ...], channel: str = "") -> list[ListFile]:
    """The files with these endings in the channels, not in folders within them.

    channel: the suffix of channels that hold only such a file: `lst` for `train_lst`.
    """
    found = [
        ListFile(folder.path / name, split, *_indexes(inputs, split), {})
        for split in inputs.splits
        if channel and (folder := inputs.extras.get(f"{split}_{channel}")) is not None
        for name in files_ending(folder, endings)
    ]
    if found:
        return found
    for split, entry in inputs.splits.items():
        indexes = _indexes(inputs, split)
        for name in files_ending(entry.images, endings):
            own = split_of_file(name) if split == "train" else None
            found.append(ListFile(entry.images.path / name, own or split, *indexes, {}))
    above = inputs.first.parent
    if above is not None:
        folders = {split: entry.images.path for split, entry in inputs.splits.items()}
        index = ImageIndex((above,))
        found += [
            ListFile(above.path / name, split_of_file(name), index, index, folders)
            for name in files_ending(above, endings)
        ]
    return found


def check_lists(lists: list[ListFile], inputs: Inputs) -> None:
    """Raises DataError if two files list the same split, or a split with images has no list."""
    seen: dict[str | None, Path] = {}
    for entry in lists:
        if entry.split in seen:
            raise DataError(
                f"{seen[entry.split]} and {entry.path} both list {entry.split or 'all'} images; keep one of them"
            )
        seen[entry.split] = entry.path
    if None in seen:
        return
    for split, folders in inputs.splits.items():
        if split in seen:
            continue
        if split == "test":
            logger.warning("%s is not read: there is no list of its images", folders.images.path)
            continue
        raise DataError(
            f"there is no list of the {split} images in {folders.images.path}, but there is "
            f"{next(iter(seen.values()))} for the others; add one"
        )


def by_split(entries: Mapping[str, list[Item]], inputs: Inputs) -> dict[str, list[Item]]:
    """The splits that have entries, training first. Raises DataError if the training split was given and has none."""
    listed = {split: entries[split] for split in ("train", "validation", "test") if entries.get(split)}
    if not listed or ("train" in inputs.splits and "train" not in listed):
        raise DataError(f"the lists in {inputs.first.images.path} name no training images; add a line for each")
    return listed


def check_repeated(entries: Sequence[NamesImage]) -> None:
    """Raises DataError that names each line whose image is listed already."""
    first: dict[str, str] = {}
    problems = []
    for entry in entries:
        key = str(entry.image) if isinstance(entry.image, Path) else repr(entry.image)
        if key in first:
            problems.append(f"{entry.where}: {entry.image.name} is already listed in {first[key]}")
        first.setdefault(key, entry.where)
    if problems:
        raise DataError(list_problems("images are listed more than once; keep one line for each:", problems))


def report_problems(headline: str, problems: list[str], options: DataOptions) -> None:
    """Raises DataError that names all problems, or only warns with `on_bad_sample=skip`."""
    if not problems:
        return
    message = list_problems(headline, problems)
    if options.on_bad_sample == "fail":
        raise DataError(message)
    logger.warning("%s\nThese lines are left out.", message)


def report_list_problems(what: str, lists: Sequence[ListFile], problems: list[str], options: DataOptions) -> None:
    """As `report_problems`, for rows or lines of all lists at once."""
    paths = ", ".join(dict.fromkeys(str(file.path) for file in lists))
    report_problems(f"{what} of {paths} that cannot be used:", problems, options)


def _indexes(inputs: Inputs, split: str) -> tuple[ImageIndex, ImageIndex]:
    entry = inputs.splits[split]
    masks = (entry.images,) if entry.masks is None else (entry.masks, entry.images)
    return ImageIndex((entry.images,)), ImageIndex(masks)


def files_ending(folder: Folder, endings: tuple[str, ...]) -> list[str]:
    return [name for name in folder.files if name.lower().endswith(endings) and not _FORMS.search(name)]


def split_of_file(name: str) -> str | None:
    """`train.csv`, `data_val.lst`: the split in a file's name, if there is exactly one."""
    words = re.split(r"[^a-z]+", name.lower())[:-1]
    found = {split for word in words if (split := split_of(word)) is not None}
    return found.pop() if len(found) == 1 else None


@dataclass(frozen=True)
class MaskEntry:
    """An image and its mask. where: their place in messages. mask_map: what the mask's values mean."""

    where: str
    image: ImageSource
    mask: ImageSource
    group: str | None = None
    mask_map: MaskMap | None = None


def masked_dataset(
    entries: Mapping[str, Sequence[MaskEntry]], options: DataOptions, names: Mapping[int, str] | None = None
) -> ParsedDataset:
    """The samples of images with masks.

    names: mask value → class, if the list has them; otherwise the classes come from the masks.
    """
    check_repeated(list(chain(*entries.values())))
    samples = {
        split: tuple(Sample(entry.image, entry.mask, group=entry.group, mask_map=entry.mask_map) for entry in of)
        for split, of in entries.items()
    }
    ignored = options.ignore_index
    if ignored is None and IGNORED not in (names or {}):
        ignored = IGNORED
    classes = tuple(ClassInfo(name, value) for value, name in sorted((names or {}).items()) if value != ignored)
    return ParsedDataset(samples, classes, ignored) if len(classes) > 1 else ParsedDataset(samples)
