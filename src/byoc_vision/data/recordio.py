"""MXNet's RecordIO: the framing of records, and the header that im2rec puts before an image.

A record is a magic number, a word with 3 bits of flag and 29 bits of length, the content, and padding to 4 bytes.
If the content holds the magic number at a multiple of 4, it is cut out there and the record continues in several parts
(flag 1 for the first, 2 for those between, 3 for the last), so that a reader can synchronise anywhere.

Source: dmlc-core, include/dmlc/recordio.h and src/recordio.cc; MXNet, python/mxnet/recordio.py (IRHeader, pack).
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from byoc_vision.data.samples import ByteRange
from byoc_vision.errors import DataError, ResourceError

MAGIC = 0xCED7230A
MAX_SIZE = 2**29 - 1

RECORDIO_SUFFIX = ".rec"  # records with im2rec's header
RECORDS_SUFFIX = ".records"  # records of an augmented manifest: its attributes in turn

_MAGIC_BYTES = struct.pack("<I", MAGIC)
_HEAD = struct.Struct("<II")
_IR_HEADER = struct.Struct("<IfQQ")
_WHOLE, _FIRST, _BETWEEN, _LAST = range(4)
_CHUNK = 2**20
# No classifier here has more; a larger number means that the bytes are not such a header.
_MOST_LABELS = 10_000


class Record(NamedTuple):
    """Where a record's content is in its file.

    number: from 1. offset, size: of the content, in bytes, including everything between its parts.
    gaps: ranges within it that are not content, as offsets in the file (from, to).
    """

    number: int
    offset: int
    size: int
    gaps: tuple[tuple[int, int], ...] = ()

    def byte_range(self, path: Path) -> ByteRange:
        """The content, to be read when it is needed."""
        return ByteRange(path, self.offset, self.size, f"{path.name}, record {self.number}", self.gaps)


class Source(Protocol):
    """Bytes in order, of which some are read and others skipped."""

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer at the end."""
        ...

    def skip(self, size: int) -> int:
        """Skip the next `size` bytes. Returns how many there were."""
        ...


class FileSource:
    """A file on a disk: skipped bytes are not read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._rest = os.fstat(file.fileno()).st_size

    def read(self, size: int) -> bytes:
        content = self._file.read(size)
        self._rest -= len(content)
        return content

    def skip(self, size: int) -> int:
        passed = min(size, self._rest)
        self._file.seek(passed, io.SEEK_CUR)
        self._rest -= passed
        return passed


class CopySource:
    """A stream that can be read only once: all bytes, also skipped ones, are written to `target`."""

    def __init__(self, stream: BinaryIO, target: BinaryIO) -> None:
        self._stream = stream
        self._target = target

    def read(self, size: int) -> bytes:
        content = self._stream.read(size)
        try:
            self._target.write(content)
        except OSError as error:
            raise ResourceError(
                f"{self._target.name} cannot be written: {error.strerror or error}. The stream is copied to the "
                "local disk while the job trains; give the job a larger volume_size_in_gb"
            ) from error
        return content

    def skip(self, size: int) -> int:
        passed = 0
        while passed < size and (content := self.read(min(_CHUNK, size - passed))):
            passed += len(content)
        return passed


def read_records(source: Source, name: str, remedy: str) -> Iterator[Record]:
    """The records of a source, in order.

    name, remedy: of the source, for messages.
    Raises DataError that names the record if the framing is wrong or the source ends within it.
    """
    number, position = 1, 0
    while (head := source.read(_HEAD.size)) != b"":
        offset = position + _HEAD.size
        gaps: list[tuple[int, int]] = []
        inner = False
        while True:
            where = f"{name}, record {number}"
            flag, size = _parse_head(head, where, remedy, inner)
            padded = (size + 3) & ~3
            passed = source.skip(padded)
            if passed < padded:
                raise DataError(f"{where} is cut off: {min(passed, size):,} of its {size:,} bytes are there; {remedy}")
            content_end = position + _HEAD.size + size
            position += _HEAD.size + padded
            if flag in (_WHOLE, _LAST):
                break
            # The magic number in the next part's head replaces the one that was cut out of the content.
            if padded > size:
                gaps.append((content_end, position))
            gaps.append((position + len(_MAGIC_BYTES), position + _HEAD.size))
            head = source.read(_HEAD.size)
            inner = True
        yield Record(number, offset, content_end - offset, tuple(gaps))
        number += 1


def index_records(path: Path, most: int | None = None) -> list[Record]:
    """The records of a file, or the first `most` of them, found in one pass over their heads.

    Raises DataError that names the file and the record if it is damaged, or if there are no records.
    """
    remedy = "copy the file again, or make it again with im2rec"
    try:
        with path.open("rb") as file:
            records = list(islice(read_records(FileSource(file), path.name, remedy), most))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    if not records:
        raise DataError(f"{path} holds no records; {remedy}")
    return records


def write_record(file: BinaryIO, content: bytes) -> None:
    """Append a record. Raises ValueError if the content is longer than the format allows."""
    if len(content) > MAX_SIZE:
        raise ValueError(f"a record holds at most {MAX_SIZE:,} bytes, not {len(content):,}")
    parts = _split_at_magic(content)
    flags = [_WHOLE] if len(parts) == 1 else [_FIRST, *[_BETWEEN] * (len(parts) - 2), _LAST]
    for flag, part in zip(flags, parts, strict=True):
        file.write(_HEAD.pack(MAGIC, flag << 29 | len(part)) + part + bytes(-len(part) % 4))


@dataclass(frozen=True)
class PackedImage:
    """The content of a record that im2rec wrote. labels: one, or a vector. image: the bytes after them."""

    labels: tuple[float, ...]
    image: ByteRange


def unpack(record: Record, path: Path) -> PackedImage:
    """The labels and the image of a record that im2rec wrote.

    Its header: flag (the number of labels that follow as float32; 0 if `label` is the only one), label, two ids.
    Raises DataError if the record is too short for it.
    """
    whole = record.byte_range(path)
    head = read_first(whole, _IR_HEADER.size)
    if len(head) < _IR_HEADER.size:
        raise DataError(f"{whole} is too short for im2rec's header; make the file with im2rec")
    count, label, _, _ = _IR_HEADER.unpack(head)
    begin = _IR_HEADER.size + 4 * count
    if count > _MOST_LABELS or (count and len(head := read_first(whole, begin)) < begin):
        raise DataError(f"{whole} says that {count:,} labels follow, but they do not; make the file with im2rec")
    labels = struct.unpack_from(f"<{count}f", head, _IR_HEADER.size) if count else (label,)
    return PackedImage(labels, drop_first(whole, begin))


def pack(labels: tuple[float, ...], image: bytes, *, number: int = 0) -> bytes:
    """The content of a record as im2rec writes it: a single label in the header, several behind it."""
    if len(labels) == 1:
        return _IR_HEADER.pack(0, labels[0], number, 0) + image
    return _IR_HEADER.pack(len(labels), 0.0, number, 0) + struct.pack(f"<{len(labels)}f", *labels) + image


def read_first(whole: ByteRange, count: int) -> bytes:
    """The first `count` bytes of a range, fewer at its end. Raises DataError."""
    size = count + sum(stop - start for start, stop in whole.gaps)
    try:
        return replace(whole, size=min(size, whole.size)).read_bytes()[:count]
    except OSError as error:
        raise DataError(f"{whole.path} cannot be read: {error.strerror or error}") from error


def drop_first(whole: ByteRange, count: int) -> ByteRange:
    """A slice without the first `count` bytes of its content."""
    begin = whole.offset + count
    for start, stop in whole.gaps:
        if start <= begin:
            begin += stop - start
    gaps = tuple(gap for gap in whole.gaps if gap[0] >= begin)
    return replace(whole, offset=begin, size=whole.offset + whole.size - begin, gaps=gaps)


def _parse_head(head: bytes, where: str, remedy: str, inner: bool) -> tuple[int, int]:
    if len(head) < _HEAD.size:
        raise DataError(f"{where} is cut off: there are only {len(head)} bytes where its length should stand; {remedy}")
    magic, word = _HEAD.unpack(head)
    flag, size = word >> 29, word & MAX_SIZE
    if magic != MAGIC:
        raise DataError(
            f"{where} does not begin like a RecordIO record (0x{magic:08x} in place of 0x{MAGIC:08x}); {remedy}"
        )
    if flag not in ((_BETWEEN, _LAST) if inner else (_WHOLE, _FIRST)):
        raise DataError(f"{where} has a part out of order (flag {flag}); {remedy}")
    return flag, size


def _split_at_magic(content: bytes) -> list[bytes]:
    parts, begin, found = [], 0, content.find(_MAGIC_BYTES)
    while found >= 0:
        if found % 4 == 0:
            parts.append(content[begin:found])
            begin = found + len(_MAGIC_BYTES)
            found = content.find(_MAGIC_BYTES, begin)
        else:
            found = content.find(_MAGIC_BYTES, found + 1)
    return [*parts, content[begin:]]
