"""Files that list pictures: where they lie, which split each is for, and which file a name in them means."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Protocol, TypeVar

from byoc_vision.data.formats.base import Inputs
from byoc_vision.data.formats.scan import Folder
from byoc_vision.data.samples import DataOptions, PictureFile
from byoc_vision.errors import DataError, list_problems

logger = logging.getLogger(__name__)

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
# Forms to fill in, as competitions give them: they list pictures whose labels are made up.
_FORMS = re.compile("submission", re.IGNORECASE)


def split_of(word: str) -> str | None:
    """The split that a word means, such as `val`; None where it means none."""
    return _SPLIT_WORDS.get(word.strip().lower())


@dataclass(frozen=True)
class Catalogue:
    """The pictures of some folders, found by what lists call them. Nothing but the listing is asked."""

    folders: tuple[Folder, ...]

    @cached_property
    def _by_path(self) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for folder in self.folders:
            for picture in folder.pictures():
                found.setdefault(str(picture), folder.path / picture)
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
        """The picture of this relative path."""
        return self._by_path.get(text.removeprefix("./"))

    def find(self, text: str) -> Path | str:
        """The picture that a list means by a relative path, an S3 address, or a name without ending; else why not.

        The longest part of `text`, counted from its end, that is the whole relative path of a picture decides; else
        the one picture whose path ends with `text`, or with `text` and the ending of a picture.
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
        return f"there is no picture {text!r} in {where}; put it there or take the line out"


class Listed(Protocol):
    """A line that names a picture. where: what messages call the line."""

    @property
    def where(self) -> str: ...

    @property
    def image(self) -> PictureFile: ...


@dataclass(frozen=True)
class ListFile:
    """A file that lists pictures.

    split: the one it is for; None where its lines, or the places of its pictures, tell.
    pictures: where they are looked for. masks: where the masks that it names are looked for.
    folders: those of the splits, where the file lies above them.
    """

    path: Path
    split: str | None
    pictures: Catalogue
    masks: Catalogue
    folders: Mapping[str, Path]

    def split_of(self, picture: PictureFile) -> str:
        """The split of the whole list, else the one whose folder holds a picture, else training."""
        path = picture if isinstance(picture, Path) else picture.path
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
        for name in _ending(entry.pictures, endings):
            own = _split_of_file(name) if split == "train" else None
            found.append(ListFile(entry.pictures.path / name, own or split, *catalogues, {}))
    above = inputs.first.around
    if above is not None:
        folders = {split: entry.pictures.path for split, entry in inputs.splits.items()}
        catalogue = Catalogue((above,))
        found += [
            ListFile(above.path / name, _split_of_file(name), catalogue, catalogue, folders)
            for name in _ending(above, endings)
        ]
    return found


def check_lists(lists: list[ListFile], inputs: Inputs) -> None:
    """Raises DataError where two files list one split, or a split that pictures were given for has no list."""
    seen: dict[str | None, Path] = {}
    for entry in lists:
        if entry.split in seen:
            raise DataError(
                f"{seen[entry.split]} and {entry.path} both list "
                f"{entry.split or 'all'} pictures; which is meant? Keep one of them"
            )
        seen[entry.split] = entry.path
    if None in seen:
        return
    for split, folders in inputs.splits.items():
        if split in seen:
            continue
        if split == "test":
            logger.warning("%s is not read: there is no list of its pictures", folders.pictures.path)
            continue
        raise DataError(
            f"there is no list of the {split} pictures in {folders.pictures.path}, as {next(iter(seen.values()))} is "
            "one of the others; put one there"
        )


def by_split(entries: Mapping[str, list[Item]], inputs: Inputs) -> dict[str, list[Item]]:
    """The splits that have entries. Raises DataError where the training split was given and has none."""
    listed = {split: of for split, of in entries.items() if of}
    if not listed or ("train" in inputs.splits and "train" not in listed):
        raise DataError(f"the lists in {inputs.first.pictures.path} name no training pictures; give one a line")
    return listed


def refuse_repeated(entries: Sequence[Listed]) -> None:
    """Raises DataError that names each line whose picture was listed before."""
    first: dict[str, str] = {}
    problems = []
    for entry in entries:
        key = repr(entry.image)
        if key in first:
            problems.append(f"{entry.where}: {entry.image.name} is listed before, in {first[key]}")
        first.setdefault(key, entry.where)
    if problems:
        raise DataError(list_problems("pictures are listed more than once; keep one line for each:", problems))


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
    masks = (entry.pictures,) if entry.masks is None else (entry.masks, entry.pictures)
    return Catalogue((entry.pictures,)), Catalogue(masks)


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
