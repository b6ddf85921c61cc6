"""The content of a folder, listed once.

In SageMaker's FastFile mode reading is fast and listing is slow, so each folder is listed only once, and no file is
opened.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from byoc_vision.archives import is_archive
from byoc_vision.data.decoding import IMAGE_SUFFIXES
from byoc_vision.errors import InputError

# What file managers, archivers and network drives leave behind, in addition to hidden files.
_CLUTTER = frozenset({
    "__macosx", "thumbs.db", "desktop.ini", "@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot",
    "$recycle.bin", "system volume information", "lost+found", "_thumbnails", "__pycache__",
})  # fmt: skip
# Files beside images that describe them; they are not images.
_SIDE_FILES = frozenset(
    {".txt", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".md", ".html", ".lst", ".manifest", ".py"}
)


@dataclass(frozen=True)
class Folder:
    """A folder and everything below it, without hidden files and clutter; names in natural order."""

    path: Path
    files: tuple[str, ...]
    folders: tuple[Folder, ...]

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def is_empty(self) -> bool:
        return not self.files and not self.folders

    @property
    def image_names(self) -> list[str]:
        """The files of this folder, not of folders below, with the ending of an image."""
        return [name for name in self.files if _is_image(name)]

    @property
    def has_images(self) -> bool:
        return any(map(_is_image, self.files)) or any(folder.has_images for folder in self.folders)

    @property
    def image_folders(self) -> list[Folder]:
        """The folders of this one that hold images, themselves or below."""
        return [inner for inner in self.folders if inner.has_images]

    def named(self, *names: str) -> list[Folder]:
        """The folders of this one with these names, given in lower case; the case of their own does not matter."""
        return [inner for inner in self.folders if inner.name.lower() in names]

    def unwrapped(self, *, only_images: bool = False) -> list[Folder]:
        """This folder; if it has no images and a single folder, as archives often unpack, also that one, and so on.

        only_images: folders without images, such as those of lists, do not count.
        """
        inner = self.image_folders if only_images else self.folders
        if len(inner) == 1 and not self.image_names:
            return [self, *inner[0].unwrapped(only_images=only_images)]
        return [self]

    def walk(self, above: str = "") -> Iterator[tuple[str, Folder]]:
        """This folder and all below, each with what precedes the names of its files: an empty text, `a/`, `a/b/`."""
        yield above, self
        for inner in self.folders:
            yield from inner.walk(f"{above}{inner.name}/")

    def image_paths(self) -> Iterator[str]:
        """The images here and below, relative to this folder. Strings: `Path` takes seconds for 100,000."""
        return (above + name for above, folder in self.walk() for name in folder.image_names)

    def images(self) -> Iterator[PurePosixPath]:
        """As `image_paths`, for folders that are not large."""
        return map(PurePosixPath, self.image_paths())

    def image_stems(self) -> Iterator[str]:
        """The names of the images here and below, without folders and endings."""
        return (name.rpartition(".")[0] for _, folder in self.walk() for name in folder.image_names)

    def unread_endings(self) -> Counter[str]:
        """How many files here and below are not read as images, by ending in lower case; lists do not count."""
        endings = Counter(_ending(name) or "no ending" for _, folder in self.walk() for name in folder.files)
        return Counter({end: n for end, n in endings.items() if end not in IMAGE_SUFFIXES | _SIDE_FILES})

    def archives(self) -> list[str]:
        """The names of archives here and below."""
        return [name for _, folder in self.walk() for name in folder.files if is_archive(name)]

    def all_files(self) -> Iterator[Path]:
        """The files of this folder and all folders below."""
        return (folder.path / name for _, folder in self.walk() for name in folder.files)


def _ending(name: str) -> str:
    stem, dot, ending = name.rpartition(".")  # ten times as fast as `Path`, for each of 100,000 names
    return dot + ending.lower() if stem else ""


def _is_image(name: str) -> bool:
    return _ending(name) in IMAGE_SUFFIXES


def scan(path: Path) -> Folder:
    """List `path` and everything below it. Links are followed, except those that lead back up.

    Raises InputError if it is not a folder or cannot be listed.
    """
    if not path.is_dir():
        raise InputError(f"{path} is not a folder; a channel is a folder of images")
    return _scan(path, ancestors=(os.path.realpath(path),))


def listed(channel: Path | Folder) -> Folder:
    """The listing of a channel, if it is not one already. Raises InputError as `scan` does."""
    return channel if isinstance(channel, Folder) else scan(channel)


def merged(folders: Sequence[Folder]) -> Folder:
    """Parts of one folder as `scan` would list the whole."""
    inner: dict[str, list[Folder]] = {}
    for folder in folders:
        for below in folder.folders:
            inner.setdefault(below.name, []).append(below)
    files = {name for folder in folders for name in folder.files}
    return Folder(
        folders[0].path,
        tuple(sorted(files, key=natural_key)),
        tuple(merged(inner[name]) for name in sorted(inner, key=natural_key)),
    )


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sorts `2` before `10`, numbers before letters, and letters regardless of case."""
    parts = re.split(r"([0-9]+)", name.casefold())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part], name


def _scan(path: Path, ancestors: tuple[str, ...]) -> Folder:
    files: list[str] = []
    folders: list[Folder] = []
    try:
        with os.scandir(path) as entries:
            listed = sorted(entries, key=lambda entry: natural_key(entry.name))
    except OSError as error:
        raise InputError(f"{path} cannot be listed: {error.strerror or error}") from error
    for entry in listed:
        if entry.name.startswith(".") or entry.name.lower() in _CLUTTER:
            continue
        _check_entry(entry)
        if not entry.is_dir():
            files.append(entry.name)
            continue
        real = os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(ancestors[-1], entry.name)
        if real not in ancestors:
            folders.append(_scan(Path(entry.path), (*ancestors, real)))
    return Folder(path, tuple(files), tuple(folders))


def _check_entry(entry: os.DirEntry[str]) -> None:
    """Raises InputError for what is neither a file nor a folder, such as a pipe, and for a name that is not UTF-8."""
    try:
        entry.name.encode()
    except UnicodeEncodeError:
        raise InputError(f"{os.fsencode(entry.path)!r}: the name is not UTF-8; rename it") from None
    try:
        mode = 0 if entry.is_dir() or entry.is_file() else entry.stat().st_mode
    except FileNotFoundError:  # a link to nothing, which is named when it is read
        return
    except OSError as error:
        raise InputError(f"{entry.path} cannot be read: {error.strerror or error}; remove it") from error
    if mode:
        raise InputError(f"{entry.path} is neither a file nor a folder; remove it")
