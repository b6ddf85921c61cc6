"""Files that list images: where they are, which split each is for, and which file a name in them means."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol, TypeVar

from byoc_vision.data.formats.base import Inputs, ParsedDataset
from byoc_vision.data.formats.scan import Folder
from byoc_vision.data.samples import DataOptions, ImageSource, Sample
from byoc_vision.errors import DataError, list_problems
from byoc_vision.types import ClassInfo

logger = logging.getLogger(__name__)


class Line(NamedTuple):
    """A line of a list that says something. place: file and line, for messages."""

    place: str
    text: str


def read_text(path: Path) -> str:
    """Raises DataError where the file cannot be read or is no UTF-8 text."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no UTF-8 text (byte {error.start:,}); save it as UTF-8") from error


def read_lines(path: Path, comment: str = "#") -> Iterator[Line]:
    """The lines of a list, without blank ones and those that begin with `comment`."""
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        text = line.strip()
        if text and not text.startswith(comment):
            yield Line(f"{path}, line {number}", text)


Item = TypeVar("Item")

_SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}
# Forms to fill in, as competitions give them: they list images whose labels are made up.
_FORMS = re.compile("submission", re.IGNORECASE)


def split_of(word: str) -> str | None:
    """The split that a word means, such as `val`; None where it means none."""
    return _SPLIT_WORDS.get(word.strip().lower())


@dataclass(frozen=True)
class Catalogue:
    """The images of some folders, found by what lists call them. Nothing but the listing is asked."""

    folders: tuple[Folder, ...]

    @cached_property
    def _by_path(self) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for folder in self.folders:
            for image in folder.images():
                found.setdefault(str(image), folder.path / image)
        return found

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        """The relative paths that end with a file name, and those whose file name without the ending it is."""
        found: dict[str, list[str]] = defaultdict(list)
        for path in self._by_path:
            found[PurePosixPath(path).name].append(path)
            found[PurePosixPath(path).stem].append(path)
        return found

    def exact(self, text: str) -> Path | None:
        """The image of this relative path."""
        return self._by_path.get(text.removeprefix("./"))

    def find(self, text: str) -> Path | str:
        """The image that a list means by a relative path, an S3 address, or a name without ending; else why not.

        The longest part of `text`, counted from its end, that is the whole relative path of an image decides; else
        the one image whose path ends with `text`, or with `text` and the ending of an image.
        """
        parts = [part for part in text.replace("\\", "/").split("/") if part not in ("", ".")]
        for start in range(len(parts)):
            if (found := self._by_path.get("/".join(parts[start:]))) is not None:
                return found
        name = "/".join(parts)
        ends = [path for path in self._by_name.get(parts[-1] if parts else "", []) if _ends_with(path, name)]
        if len(ends) == 1:
            return self._by_path[ends[0]]
        where = " or ".join(str(folder.path) for folder in self.folders)
        if ends:
            return f"{text!r} may be {ends[0]} or {ends[1]} in {where}; give the folder and the ending too"
        return f"there is no image {text!r} in {where}; put it there or take the line out"


class Listed(Protocol):
    """A line that names an image. where: what messages call the line."""

    @property
    def where(self) -> str: ...

    @property
    def image(self) -> ImageSource: ...


@dataclass(frozen=True)
class ListFile:
    """A file that lists images.

    split: the one it is for; None where its lines, or the places of its images, tell.
    images: where they are looked for. masks: where the masks that it names are looked for.
    folders: those of the splits, where the file lies above them.
    """

    path: Path
    split: str | None
    images: Catalogue
    masks: Catalogue
    folders: Mapping[str, Path]

    def split_of(self, image: ImageSource) -> str:
        """The split of the whole list, else the one whose folder holds an image, else training."""
        path = image if isinstance(image, Path) else image.path
        of_folder = (split for split, folder in self.folders.items() if path.is_relative_to(folder))
        return self.split or next(of_folder, "train")


def find_lists(inputs: Inputs, endings: tuple[str, ...], channel: str = "") -> list[ListFile]:
    """The files of these endings that lie in the channels, not in folders within them.

    channel: what follows the split and `_` in the names of channels that hold nothing but such a file.
    """
    found = [
        ListFile(folder.path / name, split, *_catalogues(inputs, split), {})
        for split in inputs.splits
        if channel and (folder := inputs.extras.get(f"{split}_{channel}")) is not None
        for name in _ending(folder, endings)
    ]
    if found:
        return found
    for split, entry in inputs.splits.items():
        catalogues = _catalogues(inputs, split)
        for name in _ending(entry.images, endings):
            own = _split_of_file(name) if split == "train" else None
            found.append(ListFile(entry.images.path / name, own or split, *catalogues, {}))
    above = inputs.first.around
    if above is not None:
        folders = {split: entry.images.path for split, entry in inputs.splits.items()}
        catalogue = Catalogue((above,))
        found += [
            ListFile(above.path / name, _split_of_file(name), catalogue, catalogue, folders)
            for name in _ending(above, endings)
        ]
    return found


def check_lists(lists: list[ListFile], inputs: Inputs) -> None:
    """Raises DataError where two files list one split, or a split that images were given for has no list."""
    seen: dict[str | None, Path] = {}
    for entry in lists:
        if entry.split in seen:
            raise DataError(
                f"{seen[entry.split]} and {entry.path} both list "
                f"{entry.split or 'all'} images; which is meant? Keep one of them"
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
            f"there is no list of the {split} images in {folders.images.path}, as {next(iter(seen.values()))} is "
            "one of the others; put one there"
        )


def by_split(entries: Mapping[str, list[Item]], inputs: Inputs) -> dict[str, list[Item]]:
    """The splits that have entries. Raises DataError where the training split was given and has none."""
    listed = {split: of for split, of in entries.items() if of}
    if not listed or ("train" in inputs.splits and "train" not in listed):
        raise DataError(f"the lists in {inputs.first.images.path} name no training images; give one a line")
    return listed


def refuse_repeated(entries: Sequence[Listed]) -> None:
    """Raises DataError that names each line whose image was listed before."""
    first: dict[str, str] = {}
    problems = []
    for entry in entries:
        key = repr(entry.image)
        if key in first:
            problems.append(f"{entry.where}: {entry.image.name} is listed before, in {first[key]}")
        first.setdefault(key, entry.where)
    if problems:
        raise DataError(list_problems("images are listed more than once; keep one line for each:", problems))


def settle(headline: str, problems: list[str], options: DataOptions) -> None:
    """Raises DataError that names all problems; with `on_bad_sample=skip` a warning does."""
    if not problems:
        return
    message = list_problems(headline, problems)
    if options.on_bad_sample == "fail":
        raise DataError(message)
    logger.warning("%s\nThese lines are left out.", message)


def _catalogues(inputs: Inputs, split: str) -> tuple[Catalogue, Catalogue]:
    entry = inputs.splits[split]
    masks = (entry.images,) if entry.masks is None else (entry.masks, entry.images)
    return Catalogue((entry.images,)), Catalogue(masks)


def _ending(folder: Folder, endings: tuple[str, ...]) -> list[str]:
    return [name for name in folder.files if name.lower().endswith(endings) and not _FORMS.search(name)]


def _split_of_file(name: str) -> str | None:
    """`train.csv`, `data_val.lst`: the split in a file's name, where there is one and no other."""
    words = re.split(r"[^a-z]+", name.lower())[:-1]
    found = {split for word in words if (split := split_of(word)) is not None}
    return found.pop() if len(found) == 1 else None


def _ends_with(path: str, name: str) -> bool:
    pure = PurePosixPath(path)
    return any(f"/{candidate}".endswith(f"/{name}") for candidate in (path, str(pure.with_suffix(""))))


_USUAL_IGNORE_VALUE = 255


@dataclass(frozen=True)
class MaskEntry:
    """An image and its mask. where: what messages call it, such as a file and a line."""

    where: str
    image: ImageSource
    mask: ImageSource
    group: str | None = None


def found_masks(
    entries: Mapping[str, Sequence[MaskEntry]], options: DataOptions, names: Mapping[int, str] | None = None
) -> ParsedDataset:
    """The samples of images with masks.

    names: mask value → class, where the list says so; else the values in the masks will tell.
    """
    refuse_repeated(list(chain(*entries.values())))
    samples = {
        split: tuple(Sample(entry.image, entry.mask, group=entry.group) for entry in of)
        for split, of in entries.items()
    }
    ignored = options.ignore_index
    if ignored is None and _USUAL_IGNORE_VALUE not in (names or {}):
        ignored = _USUAL_IGNORE_VALUE
    classes = tuple(ClassInfo(name, value) for value, name in sorted((names or {}).items()) if value != ignored)
    return ParsedDataset(samples, classes, ignored) if len(classes) > 1 else ParsedDataset(samples)
