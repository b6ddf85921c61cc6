"""Unpacking archives from outside, models and data sets: zip, and tar with or without gzip, bzip2 or xz.

Nothing is written outside the folder: paths that leave it, links that do, devices and doubled names are refused, and
no symbolic link is ever made on the disk. A tar is read once, from its start to the checksum at its end; of a zip the
list of members is judged before the first is written.
"""

from __future__ import annotations

import errno
import fnmatch
import lzma
import os
import re
import shutil
import stat
import struct
import tarfile
import tempfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from byoc_vision.errors import DataError, ResourceError, UserError, list_problems
from byoc_vision.tar_stream import BLOCK, CHUNK, Advance, CountedFile, TarStream, decompressed

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")

HERE = PurePosixPath()

_CLUTTER = re.compile(r"__macosx|\.ds_store|\._.*|thumbs\.db|desktop\.ini", re.IGNORECASE | re.DOTALL)
_ABSOLUTE = re.compile(r"/|[A-Za-z]:/")
_LONGEST_PATH = 1024  # bytes
_LONGEST_NAME = 255  # bytes of one folder or file in it, as disks have it
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What the readers of both kinds, and their decompressors, raise on damaged files; the last of headers before headers.
_BROKEN: tuple[type[Exception], ...] = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError)
_BROKEN += (OSError, ValueError, LookupError, OverflowError, NotImplementedError, struct.error, RecursionError)


@dataclass(frozen=True)
class Rules:
    """What archives unpacked into one folder may hold.

    members, size: the most of them together, and their bytes. links: whether a link to a file of the archive becomes
    that file, instead of being refused. zips: whether a zip is read.
    """

    members: int
    size: int
    links: bool = False
    zips: bool = False


DATA_SETS = Rules(members=100_000_000, size=2**50, links=True, zips=True)
MODELS = Rules(members=1_000, size=2**36)
OUTPUTS = Rules(members=100_000, size=2**36)


def is_archive(path: str | os.PathLike[str]) -> bool:
    """Whether a file's name is that of an archive."""
    return os.fspath(path).lower().endswith(ARCHIVE_SUFFIXES)


def only_archive(folder: Path, *besides: str) -> Path | None:
    """The archive that is all that a folder holds, as it was downloaded; None if there is more, or something else.

    besides: names of files that do not count.
    """
    held = [path for path in folder.iterdir() if not path.name.startswith(".") and path.name not in besides]
    return held[0] if len(held) == 1 and held[0].is_file() and is_archive(held[0]) else None


@contextmanager
def unpacked(archive: Path, rules: Rules) -> Iterator[Path]:
    """A temporary folder with the files of an archive; errors in the block name the archive in the folder's place.

    Raises what `Unpacker.unpack` raises.
    """
    with tempfile.TemporaryDirectory(prefix="byoc-unpacked-") as folder:
        try:
            Unpacker(Path(folder), rules).unpack(archive)
            yield Path(folder)
        except UserError as error:
            if folder not in str(error):
                raise
            raise type(error)(str(error).replace(folder, str(archive))) from error


class Wanted(NamedTuple):
    """What a folder from outside should hold, and what messages say of it.

    file: the one that marks the folder. plural: of such folders. missing: of a folder without it. remedy: what to name.
    """

    file: str
    plural: str
    missing: str
    remedy: str


@contextmanager
def opened(source: Path, wanted: Wanted, rules: Rules, *besides: str) -> Iterator[Path]:
    """The folder with the wanted file: of a folder, a folder nested one deep, or a tar archive of either.

    A folder that holds nothing but such an archive stands for the archive. besides: see `only_archive`.

    Raises DataError if there is none, and what `Unpacker.unpack` raises.
    """
    if source.is_dir():
        source = only_archive(source, *besides) or source
    if source.is_dir():
        yield _find(source, wanted)
    elif source.is_file():
        with unpacked(source, rules) as folder:
            yield _find(folder, wanted)
    else:
        problem = "is neither a folder nor a file" if source.exists() else "does not exist"
        raise DataError(f"{source} {problem}; {wanted.remedy}")


def _find(folder: Path, wanted: Wanted) -> Path:
    if (folder / wanted.file).is_file():
        return folder
    nested = [child for child in sorted(folder.iterdir()) if (child / wanted.file).is_file()]
    if len(nested) == 1:
        return nested[0]
    if nested:
        names = ", ".join(child.name for child in nested)
        raise DataError(f"{folder} holds several {wanted.plural} ({names}); name one of them")
    held = ", ".join(sorted(child.name for child in folder.iterdir())[:8]) or "nothing"
    raise DataError(f"{folder} {wanted.missing} (it holds: {held}); {wanted.remedy}")


class Unpacker:
    """Unpacks archives into one folder. Archives together must not hold a path twice.

    skipped: patterns (`*_hq.zip`) of files and folders that are not unpacked.
    After an error the folder holds what was unpacked before: its owner removes it.
    """

    def __init__(self, folder: Path, rules: Rules = DATA_SETS, skipped: Sequence[str] = ()) -> None:
        self._folder = folder
        self._skipped = skipped
        self._rules = rules
        self._members = 0
        self._size = 0
        # Paths without regard to case: a disk may not tell `A.jpg` from `a.jpg`.
        self._files: set[str] = set()
        self._folders: set[str] = set()

    def unpack(self, archive: Path, advance: Advance = lambda _: None, below: PurePosixPath = HERE) -> None:
        """Write all members, without what file managers leave behind.

        below: where within the folder.
        Raises ResourceError if the disk is too small for it, and DataError if it is not an archive, is damaged or
        encrypted, holds more than the rules allow, or a member that is refused; each names the archive and the member.
        """
        try:
            with archive.open("rb") as file:
                start = file.read(BLOCK)
        except OSError as error:
            raise DataError(f"{archive} cannot be read: {error.strerror}") from error
        place = _Place(archive, below)
        with _naming(place):
            if start.startswith((b"PK\x03\x04", b"PK\x05\x06")) and self._rules.zips:
                self._unpack_zip(place, advance)
            else:
                self._unpack_tar(place, start, advance)

    def _unpack_zip(self, place: _Place, advance: Advance) -> None:
        with zipfile.ZipFile(place.archive) as file:
            members = file.infolist()
            self._count(place, len(members), sum(member.file_size for member in members))
            paths = self._judge(place, members)
            placed = list(zip(members, paths, strict=True))
            self._find_room(place.archive, sum(member.file_size for member, path in placed if path is not None))
            for member, path in placed:
                place.member = member.filename
                if path is not None and not member.is_dir():
                    with file.open(member) as content:
                        self._write(iter(partial(content.read, CHUNK), b""), path, member.file_size)
                advance(member.compress_size)

    def _judge(self, place: _Place, members: list[zipfile.ZipInfo]) -> list[PurePosixPath | None]:
        """Where each member goes, or None for clutter. Raises DataError that names all that are refused."""
        paths: list[PurePosixPath | None] = []
        problems: list[str] = []
        for member in members:
            try:
                if member.flag_bits & 1:
                    raise _RefusedError("is encrypted; unpack it with its password and name the folder instead")
                if stat.S_ISLNK(member.external_attr >> 16):
                    raise _RefusedError("is a link; pack the file that it leads to")
                paths.append(self._claim(place, member.filename, member.is_dir()))
            except _RefusedError as refused:
                problems.append(f"{_shown(member.filename)} {refused}")
        if problems:
            raise DataError(list_problems(f"{place.archive} is not unpacked:", problems))
        return paths

    def _unpack_tar(self, place: _Place, start: bytes, advance: Advance) -> None:
        links: list[tuple[str, PurePosixPath, PurePosixPath]] = []
        with CountedFile(place.archive, advance) as raw:
            tar = decompressed(raw, start)
            if tar is None:
                raise self._no_archive(place.archive, start)
            stream = TarStream(tar)
            for member in stream:
                place.member = member.name
                try:
                    self._take(stream, member, place, links)
                except _RefusedError as refused:
                    raise DataError(f"{place.archive} is not unpacked: {_shown(member.name)} {refused}") from None
        for name, path, target in links:
            self._link(place.archive, name, path, target)

    def _no_archive(self, archive: Path, start: bytes) -> DataError:
        found = f"it begins with {start[:16]!r}" if start else "it is empty"
        kinds = f"{'zip, ' if self._rules.zips else ''}tar, tar.gz, tar.bz2 and tar.xz"
        return DataError(
            f"{archive} is not an archive that is read ({found}); fetch it again, or pack it as one of {kinds}"
        )

    def _take(
        self,
        stream: TarStream,
        member: tarfile.TarInfo,
        place: _Place,
        links: list[tuple[str, PurePosixPath, PurePosixPath]],
    ) -> None:
        """Write a member of a tar. Links wait until all files are there."""
        self._count(place, 1, member.size)
        is_link = member.issym() or member.islnk()
        if is_link and not self._rules.links:
            raise _RefusedError(f"is a link to {_shown(member.linkname)}; pack files and folders only")
        if member.issparse() or not (member.isreg() or member.isdir() or is_link):
            raise _RefusedError("is a device, a pipe or a file with holes; pack files and folders only")
        path = self._claim(place, member.name, member.isdir())
        if path is None or member.isdir():
            return
        if member.isreg():
            self._find_room(place.archive, member.size)
            self._write(stream.content(member), path, member.size)
        else:
            base = path.parent if member.issym() else place.below
            links.append((member.name, path, _target(member.linkname, base)))

    def _count(self, place: _Place, members: int, size: int) -> None:
        """Count more members, and the bytes that they declare. Raises DataError above the rules' limits."""
        if size < 0:
            raise tarfile.ReadError(f"it declares {size:,} bytes")
        self._members += members
        self._size += size
        if self._members > self._rules.members:
            raise DataError(
                f"{place.archive} is not unpacked: it holds more than {self._rules.members:,} files and folders; "
                "leave out what does not belong in it"
            )
        if size > self._rules.size or self._size > self._rules.size:
            at = f"at {_shown(place.member)} " if place.member else ""
            raise DataError(
                f"{place.archive} is not unpacked: {at}its members declare {self._size:,} bytes, more than the "
                f"{self._rules.size:,} allowed; leave out what does not belong in it"
            )

    def _claim(self, place: _Place, name: str, is_folder: bool) -> PurePosixPath | None:
        """The path of a member, which no other may have; None if it is not unpacked. Raises _RefusedError."""
        path = place.below / _inside(name)
        skipped = (fnmatch.fnmatchcase(part, pattern) for part in path.parts for pattern in self._skipped)
        if any(map(_CLUTTER.fullmatch, path.parts)) or any(skipped):
            return None
        key = _key(path)
        folders = {_key(parent) for parent in path.parents} | ({key} if is_folder else set())
        if not self._files.isdisjoint(folders):
            raise _RefusedError("needs a folder where the archive has a file; rename one of them")
        if not is_folder and key in self._folders | {""}:
            raise _RefusedError("is a file where the archive has a folder; rename one of them")
        if not is_folder and key in self._files:
            raise _RefusedError("is there twice, perhaps with other capitals; which is meant?")
        self._folders |= folders
        if not is_folder:
            self._files.add(key)
        return path

    def _write(self, pieces: Iterable[bytes], path: PurePosixPath, size: int) -> None:
        target = self._folder / path
        with _on_disk(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            file = target.open("xb", buffering=0)
        with file:
            for piece in pieces:
                left = memoryview(piece)
                while left:
                    with _on_disk(target):
                        left = left[file.write(left) :]
            if file.tell() != size:
                raise EOFError(f"{file.tell():,} of {size:,} bytes are there")

    def _link(self, archive: Path, name: str, path: PurePosixPath, target: PurePosixPath) -> None:
        """A link in the archive becomes the file that it leads to, under a second name."""
        if _key(target) not in self._files or not (self._folder / target).is_file():
            raise DataError(
                f"{archive} is not unpacked: {_shown(name)} is a link to {_shown(str(target))}, which is not a file of "
                "the archive; pack the file itself"
            )
        with _on_disk(self._folder / path):
            (self._folder / path).parent.mkdir(parents=True, exist_ok=True)
            os.link(self._folder / target, self._folder / path)

    def _find_room(self, archive: Path, needed: int) -> None:
        free = shutil.disk_usage(self._folder).free
        if needed > free:
            raise ResourceError(
                f"{archive} declares {needed:,} bytes to unpack, and {self._folder.parent} has {free:,} bytes free; "
                "make room, or write to a larger disk"
            )


class _RefusedError(Exception):
    """Why a member is not unpacked; completes a sentence that begins with its name."""


@dataclass
class _Place:
    """Where the reading of an archive has come to, for messages."""

    archive: Path
    below: PurePosixPath
    member: str | None = None


@contextmanager
def _naming(place: _Place) -> Iterator[None]:
    """Turn what the readers raise on damaged archives into an error that names the archive and the member."""
    try:
        yield
    except _BROKEN as error:
        at = f"{place.archive}, at its member {_shown(place.member)}," if place.member else str(place.archive)
        reason = str(error) or type(error).__name__
        raise DataError(
            f"{at} cannot be unpacked: it is cut short or damaged ({reason}); fetch it or make it again"
        ) from error


@contextmanager
def _on_disk(target: Path) -> Iterator[None]:
    """Turn what the disk refuses into an error of its own. Raises ResourceError."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise ResourceError(f"{target} does not fit on the disk; make room, or write to a larger disk") from error
        raise ResourceError(f"{target} cannot be written: {error.strerror}") from error


def _shown(name: str) -> str:
    """A name as messages have it: on one line, and not of a page."""
    text = name if name.isprintable() else ascii(name)
    return text if len(text) <= 200 else f"{text[:200]}…"


def _inside(name: str) -> PurePosixPath:
    """A member's path below the folder. Raises _RefusedError if it leads out of it, or no file can be called so."""
    text = name.replace("\\", "/")  # as some Windows programs write it
    if (length := len(os.fsencode(name))) > _LONGEST_PATH:
        raise _RefusedError(f"has a name of {length:,} bytes, and {_LONGEST_PATH:,} are the most; shorten it")
    parts = text.split("/")
    if _ABSOLUTE.match(text) or ".." in parts:
        raise _RefusedError("leads out of the folder; pack paths within it")
    if "\0" in text or any(len(os.fsencode(part)) > _LONGEST_NAME for part in parts):
        raise _RefusedError(
            f"has a name that a file cannot have: {_LONGEST_NAME} bytes are the most of each part; rename it"
        )
    return PurePosixPath(text)


def _target(link: str, base: PurePosixPath) -> PurePosixPath:
    """What a link leads to, below the folder. Raises _RefusedError if it leads out of it."""
    if len(link) > _LONGEST_PATH:
        raise _RefusedError(f"is a link with a target of {len(link):,} characters; pack the file itself")
    parts = list(base.parts)
    for part in link.split("/"):
        if part == ".." and parts:
            parts.pop()
        elif part == ".." or link.startswith("/"):
            raise _RefusedError(f"is a link that leads out of the folder, to {_shown(link)}; pack the file itself")
        elif part not in ("", "."):
            parts.append(part)
    return PurePosixPath(*parts)


def _key(path: PurePosixPath) -> str:
    return "" if not path.parts else unicodedata.normalize("NFC", str(path)).casefold()
