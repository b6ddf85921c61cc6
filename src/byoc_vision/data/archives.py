"""Unpacking data sets as they are downloaded: zip, and tar with or without gzip, bzip2 or xz.

An archive comes from a stranger, so nothing is written outside the folder: paths that leave it, links that do,
devices and doubled names are refused, and no link is ever made on the disk. A tar is read once from its start to
its end; of a zip the list of members is judged before the first is written.
"""

from __future__ import annotations

import bz2
import errno
import fnmatch
import gzip
import io
import lzma
import os
import re
import shutil
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

from byoc_vision.errors import DataError, InputError, ResourceError, list_problems

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")

HERE = PurePosixPath()
Advance = Callable[[int], object]  # told how many bytes of the archive are done

_CHUNK = 1 << 20
_BLOCK = 512  # of a tar
_CLUTTER = re.compile(r"__macosx|\.ds_store|\._.*|thumbs\.db|desktop\.ini", re.IGNORECASE)
_ABSOLUTE = re.compile(r"/|[A-Za-z]:/")
# What the readers of both kinds, and their decompressors, raise on damaged files.
_BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    OverflowError,
    NotImplementedError,
    struct.error,
)


def is_archive(path: str | os.PathLike[str]) -> bool:
    """Whether a file's name is that of an archive."""
    return os.fspath(path).lower().endswith(ARCHIVE_SUFFIXES)


class Unpacker:
    """Unpacks archives into one folder. Archives together must not hold a path twice.

    skipped: patterns (`*_hq.zip`) of files and folders that are not unpacked.
    After an error the folder holds what was unpacked before: its owner removes it.
    """

    def __init__(self, folder: Path, skipped: Sequence[str] = ()) -> None:
        self._folder = folder
        self._skipped = skipped
        # Paths without regard to case: a disk may not tell `A.jpg` from `a.jpg`.
        self._files: set[str] = set()
        self._folders: set[str] = set()

    def unpack(self, archive: Path, advance: Advance, below: PurePosixPath = HERE) -> None:
        """Write all members, without what file managers leave behind.

        below: where within the folder.
        Raises InputError where it is no archive, ResourceError where the disk is too small for it, and DataError
        where it is damaged, encrypted, or holds a member that is refused; each names the archive and the member.
        """
        with archive.open("rb") as file:
            start = file.read(_BLOCK)
        place = _Place(archive, below)
        with _naming(place):
            if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
                self._unpack_zip(place, advance)
            else:
                self._unpack_tar(place, start, advance)

    def _unpack_zip(self, place: _Place, advance: Advance) -> None:
        with zipfile.ZipFile(place.archive) as file:
            members = file.infolist()
            paths = self._judge(place, members)
            placed = list(zip(members, paths, strict=True))
            self._find_room(place.archive, sum(member.file_size for member, path in placed if path is not None))
            for member, path in placed:
                place.member = member.filename
                if path is not None and not member.is_dir():
                    with file.open(member) as content:
                        self._write(content, path, member.file_size)
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
                    raise _RefusedError("is a link")
                paths.append(self._claim(place, member.filename, member.is_dir()))
            except _RefusedError as refused:
                problems.append(f"{member.filename} {refused}")
        if problems:
            raise DataError(list_problems(f"{place.archive} is not unpacked:", problems))
        return paths

    def _unpack_tar(self, place: _Place, start: bytes, advance: Advance) -> None:
        links: list[tuple[str, PurePosixPath, PurePosixPath]] = []
        with _Counted(place.archive, advance) as raw:
            stream = _Tail(_decompressed(raw, start, place.archive))
            with tarfile.open(fileobj=stream, mode="r|", errorlevel=2) as tar:  # type: ignore[call-overload]
                for member in tar:
                    place.member = member.name
                    try:
                        self._take(tar, member, place, links)
                    except _RefusedError as refused:
                        raise DataError(f"{place.archive} is not unpacked: {member.name} {refused}") from None
            stream.drain()
            if not stream.ended:
                raise EOFError("the end of the archive is missing")
        for name, path, target in links:
            self._link(place.archive, name, path, target)

    def _take(
        self,
        tar: tarfile.TarFile,
        member: tarfile.TarInfo,
        place: _Place,
        links: list[tuple[str, PurePosixPath, PurePosixPath]],
    ) -> None:
        """Write a member of a tar. Links wait until all files are there."""
        if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
            raise _RefusedError("is a device or a pipe, not a file")
        path = self._claim(place, member.name, member.isdir())
        if path is None or member.isdir():
            return
        if member.isreg():
            self._find_room(place.archive, member.size)
            content = tar.extractfile(member)
            assert content is not None, "a regular file has content"
            self._write(content, path, member.size)
        else:
            base = path.parent if member.issym() else place.below
            links.append((member.name, path, _target(member.linkname, base)))

    def _claim(self, place: _Place, name: str, is_folder: bool) -> PurePosixPath | None:
        """The path of a member, which no other may have; None where it is not unpacked. Raises _RefusedError."""
        path = place.below / _inside(name)
        if any(self._is_unwanted(part) for part in path.parts):
            return None
        key = _key(path)
        folders = {_key(parent) for parent in path.parents} | ({key} if is_folder else set())
        if not self._files.isdisjoint(folders):
            raise _RefusedError("needs a folder where the archive has a file")
        if not is_folder and key in self._folders | {""}:
            raise _RefusedError("is a file where the archive has a folder")
        if not is_folder and key in self._files:
            raise _RefusedError("is there twice, perhaps with other capitals; which is meant?")
        self._folders |= folders
        if not is_folder:
            self._files.add(key)
        return path

    def _is_unwanted(self, part: str) -> bool:
        return bool(_CLUTTER.fullmatch(part)) or any(fnmatch.fnmatchcase(part, pattern) for pattern in self._skipped)

    def _write(self, content: IO[bytes], path: PurePosixPath, size: int) -> None:
        target = self._folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            shutil.copyfileobj(content, file, _CHUNK)
            if file.tell() != size:
                raise EOFError(f"{file.tell():,} of {size:,} bytes are there")

    def _link(self, archive: Path, name: str, path: PurePosixPath, target: PurePosixPath) -> None:
        """A link in the archive becomes the file that it leads to, under a second name."""
        if _key(target) not in self._files or not (self._folder / target).is_file():
            raise DataError(f"{archive} is not unpacked: {name} is a link to {target}, which is no file of the archive")
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


class _Place:
    """Where the reading of an archive has come to, for messages."""

    def __init__(self, archive: Path, below: PurePosixPath) -> None:
        self.archive = archive
        self.below = below
        self.member: str | None = None


@contextmanager
def _naming(place: _Place) -> Iterator[None]:
    """Turn what the readers raise on damaged archives into an error that names the archive and the member."""
    try:
        yield
    except _BROKEN as error:
        at = f"{place.archive}, at its member {place.member}," if place.member else str(place.archive)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceError(f"{at} does not fit on the disk; make room, or write to a larger disk") from error
        reason = str(error) or type(error).__name__
        raise DataError(f"{at} cannot be unpacked: it is cut short or damaged ({reason}); download it again") from error


def _inside(name: str) -> PurePosixPath:
    """A member's path below the folder. Raises _RefusedError where it leads out of it."""
    text = name.replace("\\", "/")  # as some Windows programs write it
    if _ABSOLUTE.match(text) or ".." in text.split("/"):
        raise _RefusedError("leads out of the folder")
    return PurePosixPath(text)


def _target(link: str, base: PurePosixPath) -> PurePosixPath:
    """What a link leads to, below the folder. Raises _RefusedError where it leads out of it."""
    parts = list(base.parts)
    for part in link.split("/"):
        if part == ".." and parts:
            parts.pop()
        elif part == ".." or link.startswith("/"):
            raise _RefusedError(f"is a link that leads out of the folder, to {link}")
        elif part not in ("", "."):
            parts.append(part)
    return PurePosixPath(*parts)


def _key(path: PurePosixPath) -> str:
    return "" if not path.parts else unicodedata.normalize("NFC", str(path)).casefold()


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class _Counted(io.FileIO):
    """A file that tells how much of it was read."""

    def __init__(self, path: Path, advance: Advance) -> None:
        super().__init__(path)
        self._advance = advance

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(-1 if size is None else size) or b""
        self._advance(len(data))
        return data


class _Tail:
    """A stream that remembers its last block: a tar ends with blocks of zeros, one that was cut short may not."""

    def __init__(self, stream: _Readable) -> None:
        self._stream = stream
        self._last = b""

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        if data:
            self._last = (self._last + data)[-_BLOCK:]
        return data

    def drain(self) -> None:
        """Read what follows the last member: a compressed stream checks its sum at its end."""
        while self.read(_CHUNK):
            pass

    @property
    def ended(self) -> bool:
        return len(self._last) == _BLOCK and not any(self._last)


def _decompressed(raw: _Counted, start: bytes, archive: Path) -> _Readable:
    if start.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=raw)
    if start.startswith(b"BZh"):
        return bz2.BZ2File(raw)
    if start.startswith(b"\xfd7zXZ\x00"):
        return lzma.LZMAFile(raw)
    if start[257:262] == b"ustar" or archive.suffix.lower() == ".tar":
        return raw
    raise InputError(f"{archive} is no archive that is read; read are zip, tar, tar.gz, tar.bz2 and tar.xz")
