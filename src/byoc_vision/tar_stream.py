"""The members of a tar from outside, read once from its start to its end.

`tarfile` does the reading, over a stream that bounds it: by itself it builds what a header declares before anybody can
look at it (names of gigabytes, lists of a billion holes), and takes a damaged header for the end of the archive.
Works with any Python 3.11, also without the `filter` of `extractall`, which is not used.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Protocol, cast

Advance = Callable[[int], object]  # gets the number of bytes of the archive that were read

CHUNK = 1 << 20
BLOCK = tarfile.BLOCKSIZE

_MOST_METADATA = 1 << 18  # bytes before a member's content: its header, a long name, extended attributes
_MOST_PADDING = 1 << 24  # bytes after the end: zeros up to the length of a record


class Readable(Protocol):
    """What a stream of bytes must have."""

    def read(self, size: int = -1, /) -> bytes: ...


class TarStream:
    """Iterates over the members of an uncompressed tar; the content of each comes from `content`, before the next.

    Raises tarfile.TarError, EOFError and what `stream` raises if the archive is damaged or goes on after its end.
    """

    def __init__(self, stream: Readable) -> None:
        self._source = _Bounded(stream)

    def __iter__(self) -> Iterator[tarfile.TarInfo]:
        self._source.allowance = _MOST_METADATA
        tar = tarfile.TarFile(fileobj=cast(IO[bytes], self._source))
        while (member := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # which would grow with the archive
            yield member
            self._source.allowance = _MOST_METADATA
        self._check_end()

    def content(self, member: tarfile.TarInfo) -> Iterator[bytes]:
        """The content of the member that was read last, in pieces. Raises EOFError if some of it is missing."""
        self._source.seek(member.offset_data)
        self._source.allowance = left = member.size
        while left:
            piece = self._source.read(min(left, CHUNK))
            if not piece:
                raise EOFError(f"{member.size - left:,} of {member.size:,} bytes are there")
            left -= len(piece)
            yield piece

    def _check_end(self) -> None:
        """Read to the end of the stream: a compressed one has its checksum there."""
        last = self._source.last
        if last.count(0) < len(last):
            raise tarfile.ReadError("the header of a member is damaged")
        ended = len(last) == BLOCK
        self._source.allowance = _MOST_PADDING
        while piece := self._source.read(min(CHUNK, self._source.allowance)):
            if piece.count(0) < len(piece) or not self._source.allowance:
                raise tarfile.ReadError("it goes on after its end")
        if not ended:
            raise EOFError("the end of the archive is missing")


class _Bounded:
    """What `tarfile` reads from: it goes forwards alone. allowance: bytes that may still be read."""

    def __init__(self, stream: Readable) -> None:
        self.allowance = 0
        self.last = b""
        self._stream = stream
        self._position = 0

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> None:
        while self._position < position:
            if not self._take(min(CHUNK, position - self._position)):
                raise tarfile.ReadError("unexpected end of data")
        if self._position > position:
            raise tarfile.ReadError("a member begins before the end of the one before it")

    def read(self, size: int) -> bytes:
        """As many bytes as were asked for, unless the end comes first."""
        if not 0 <= size <= self.allowance:
            raise tarfile.ReadError(f"a header declares {size:,} bytes")
        self.allowance -= size
        pieces = []
        while size:
            piece = self._take(min(CHUNK, size))
            if not piece:
                break
            pieces.append(piece)
            size -= len(piece)
        self.last = b"".join(pieces)
        return self.last

    def _take(self, size: int) -> bytes:
        piece = self._stream.read(size)
        self._position += len(piece)
        return piece


class CountedFile(io.FileIO):
    """A file that says how much of it was read."""

    def __init__(self, path: Path, advance: Advance) -> None:
        super().__init__(os.fspath(path))
        self._advance = advance

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(-1 if size is None else size) or b""
        self._advance(len(data))
        return data


def decompressed(raw: CountedFile, start: bytes) -> Readable | None:
    """The tar in a file, which begins with `start`; None if it is another kind of file."""
    if start.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=raw)
    if start.startswith(b"BZh"):
        return bz2.BZ2File(raw)
    if start.startswith(b"\xfd7zXZ\x00"):
        return lzma.LZMAFile(raw)
    is_tar = start[257:262] == b"ustar" or (os.fspath(raw.name).lower().endswith(".tar") and len(start) == BLOCK)
    return raw if is_tar else None
