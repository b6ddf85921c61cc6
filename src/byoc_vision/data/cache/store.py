"""Entries of bytes in two files, written and read by any number of processes at once.

`index` holds a header and a row of fixed size for each entry, `data` the contents one after another. Each process
reserves the range that it writes, and writes an entry's row after its content: an interrupted write leaves no entry.
Rows and contents have checksums: after a crash of the machine a row may be on the disk without its content.

Plain reads and writes, not memory maps: the kernel's cache shares the pages in both cases, the copy of a 512 × 512
image takes 0.05 ms, and a full disk or a shortened file raises an error here but kills the process there. The kernel
frees the pages if programs need the memory, so the cache never makes a machine swap.
"""

from __future__ import annotations

import fcntl
import logging
import os
import struct
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

logger = logging.getLogger(__name__)

_MAGIC = b"byocpic1"
_HEADER = struct.Struct("<8sQQQQ")
_FIELDS = struct.Struct("<QQQQI")
_ROW_BYTES = _FIELDS.size + 4


class _Header(NamedTuple):
    """generation: the last job that opened the files. used: reserved bytes of `data`. full: 1 to store nothing more."""

    magic: bytes
    entries: int
    generation: int
    used: int
    full: int


class _Row(NamedTuple):
    """Where an entry's content is, the fingerprint of its original, and the job that wrote it (generation)."""

    fingerprint: int
    generation: int
    offset: int
    size: int
    checksum: int


class RecordStore:
    """A fixed number of entries, each of any size, in a folder.

    capacity: the limit of `data` in bytes; what does not fit is not stored.
    generation: a number of this job, the same in all its processes and different in every other job. What this job
    wrote is trusted; what an earlier job left is checked against its checksum and its original when it is first read.
    """

    _index: int  # file descriptors
    _data: int

    def __init__(self, folder: Path, entries: int, capacity: int, generation: int) -> None:
        """Raises OSError if the files cannot be made."""
        self.folder = folder
        self.entries = entries
        self.capacity = capacity
        self.generation = generation
        self._checked: set[tuple[int, int]] = set()
        self._open()
        with self._locked():
            self._begin()

    def get(self, entry: int, fingerprint: Callable[[], int]) -> np.ndarray | None:
        """An entry's content, uint8 [bytes], which the caller may change; None if it is not stored.

        fingerprint: of the original as it is now; called only for what an earlier job wrote.
        """
        try:
            row = self._row(entry)
            content = self._content(row) if row else None
        except OSError:  # the disk fails, but the original is still there
            return None
        if row is None or content is None:
            return None
        if row.generation == self.generation or (entry, row.offset) in self._checked:
            return content
        if zlib.crc32(content.data) != row.checksum or fingerprint() != row.fingerprint:
            return None
        self._checked.add((entry, row.offset))
        return content

    def put(self, entry: int, fingerprint: int, parts: Sequence[memoryview]) -> bool:
        """Store the parts' bytes as an entry's content. Returns whether it fitted; a full disk ends all storing."""
        size = sum(part.nbytes for part in parts)
        try:
            offset = self._reserve(size)
            if offset is None:
                return False
            place, checksum = offset, 0
            for part in parts:
                self._write(self._data, place, part)
                place += part.nbytes
                checksum = zlib.crc32(part, checksum)
            self._write_row(entry, _Row(fingerprint, self.generation, offset, size, checksum))
        except OSError as error:
            self._stop(error)
            return False
        return True

    @property
    def used(self) -> int:
        """Reserved bytes of `data`, including entries whose originals have changed since."""
        return self._header().used

    @property
    def has_room(self) -> bool:
        """Whether everything fitted so far."""
        try:
            return not self._header().full
        except OSError:
            return False

    def close(self) -> None:
        """Close the files: `get` finds nothing afterwards."""
        os.close(self._index)
        os.close(self._data)
        self._index = self._data = -1  # the system reuses the numbers for other files

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_index", "_data", "_thread_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._open()

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._index = os.open(self.folder / "index", flags, 0o600)
        self._data = os.open(self.folder / "data", flags, 0o600)
        self._thread_lock = threading.Lock()  # the lock on the file holds for the whole process, not for a thread

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._thread_lock:
            fcntl.lockf(self._index, fcntl.LOCK_EX, _HEADER.size)
            try:
                yield
            finally:
                fcntl.lockf(self._index, fcntl.LOCK_UN, _HEADER.size)

    def _begin(self) -> None:
        """Use the existing files, or start again if they have another format or were not begun completely."""
        header = self._header()
        if (header.magic, header.entries) != (_MAGIC, self.entries):
            os.ftruncate(self._data, 0)
            # Writing zeros reserves the disk for all rows; the header comes last.
            self._write(self._index, 0, bytes(_HEADER.size + self.entries * _ROW_BYTES))
            header = _Header(_MAGIC, self.entries, self.generation, 0, 0)
        if header.generation != self.generation:
            header = header._replace(generation=self.generation, full=0)
        self._write(self._index, 0, _HEADER.pack(*header))

    def _header(self) -> _Header:
        packed = os.pread(self._index, _HEADER.size, 0)
        return _Header(*_HEADER.unpack(packed.ljust(_HEADER.size, b"\0")))

    def _reserve(self, size: int) -> int | None:
        """The offset where `size` bytes may be written; None if they do not fit, and then nothing more is stored."""
        with self._locked():
            header = self._header()
            if header.full:
                return None
            fits = header.used + size <= self.capacity
            changed = header._replace(used=header.used + size) if fits else header._replace(full=1)
            self._write(self._index, 0, _HEADER.pack(*changed))
            return header.used if fits else None

    def _stop(self, error: OSError) -> None:
        try:
            with self._locked():
                header = self._header()
                self._write(self._index, 0, _HEADER.pack(*header._replace(full=1)))
        except OSError:  # the disk does not even take what was there before
            logger.debug("The end of storing cannot be noted in %s", self.folder)
            return
        if not header.full:
            logger.warning(
                "Cannot store more decoded images in %s (%s): the others are decoded in each epoch. Give the job a "
                "larger volume, or set cache_gb",
                self.folder,
                error.strerror or error,
            )

    def _row(self, entry: int) -> _Row | None:
        packed = os.pread(self._index, _ROW_BYTES, _HEADER.size + entry * _ROW_BYTES)
        if len(packed) < _ROW_BYTES:
            return None
        fields, check = packed[: _FIELDS.size], packed[_FIELDS.size :]
        row = _Row(*_FIELDS.unpack(fields))
        return row if row.size and check == _check(fields) else None

    def _write_row(self, entry: int, row: _Row) -> None:
        fields = _FIELDS.pack(*row)
        self._write(self._index, _HEADER.size + entry * _ROW_BYTES, fields + _check(fields))

    def _content(self, row: _Row) -> np.ndarray | None:
        content, done = np.empty(row.size, np.uint8), 0
        while done < row.size:
            count = os.preadv(self._data, [content[done:].data], row.offset + done)
            if count == 0:
                return None
            done += count
        return content

    @staticmethod
    def _write(file: int, offset: int, content: bytes | memoryview) -> None:
        rest = memoryview(content).cast("B")
        while rest:
            written = os.pwrite(file, rest, offset)
            offset, rest = offset + written, rest[written:]


def _check(fields: bytes) -> bytes:
    return zlib.crc32(fields).to_bytes(4, "little")
