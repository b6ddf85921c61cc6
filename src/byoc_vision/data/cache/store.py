"""Entries of bytes in two files, written and read by any number of processes at once.

`index` holds a header and a row of fixed size for each entry, `data` the contents one after another. An entry is
written to a place that no other process has, and its row after it: an interrupted write leaves an entry that is not
there. Rows and contents have checksums: after a crash of the machine a row may be on the disk and its content not.

Plain reads and writes, not memory maps: the pages are shared through the kernel's cache just the same, a copy of a
512 × 512 image takes 0.05 ms, and a full disk or a shortened file is an error here and a deadly signal there. The
kernel gives the pages up where programs need the memory, so that the cache never drives a machine into swap.
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
    """generation: the last job that opened the files. used: bytes of `data` that are given away. full: 1 where no more
    is to be stored.
    """

    magic: bytes
    entries: int
    generation: int
    used: int
    full: int


class _Row(NamedTuple):
    """Where an entry's content lies, of which original (fingerprint), and which job wrote it (generation)."""

    fingerprint: int
    generation: int
    offset: int
    size: int
    checksum: int


class RecordStore:
    """A fixed number of entries, each of any size, in a folder.

    capacity: bytes that `data` may come to; what does not fit is not stored.
    generation: a number of this job, the same in all its processes and in no other job. What this job wrote is taken as
    it is; what an earlier one left is checked, against its checksum and its original, when a process first reads it.
    """

    _index: int  # file descriptors
    _data: int

    def __init__(self, folder: Path, entries: int, capacity: int, generation: int) -> None:
        """Raises OSError where the files cannot be made."""
        self.folder = folder
        self.entries = entries
        self.capacity = capacity
        self.generation = generation
        self._checked: set[tuple[int, int]] = set()
        self._open()
        with self._locked():
            self._begin()

    def get(self, entry: int, fingerprint: Callable[[], int]) -> np.ndarray | None:
        """An entry's content, uint8 [bytes], of which the caller may do what it likes; None where it is not there.

        fingerprint: of the original as it is now; asked only for what an earlier job wrote.
        """
        try:
            row = self._row(entry)
            content = self._content(row) if row else None
        except OSError:  # a disk that fails: the original is still there
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
        """Store the parts' bytes as an entry's content. Whether there was room; a full disk ends all storing."""
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
        """Bytes of `data` that hold entries, or held them before their originals changed."""
        return self._header().used

    @property
    def has_room(self) -> bool:
        """Whether everything found room so far."""
        try:
            return not self._header().full
        except OSError:
            return False

    def close(self) -> None:
        """What is asked for afterwards is not there."""
        os.close(self._index)
        os.close(self._data)
        self._index = self._data = -1  # the numbers are given to other files

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_index", "_data", "_thread_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._open()

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._index = os.open(self.folder / "index", flags, 0o600)
        self._data = os.open(self.folder / "data", flags, 0o600)
        self._thread_lock = threading.Lock()  # a lock on a file is the process's, not the thread's

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._thread_lock:
            fcntl.lockf(self._index, fcntl.LOCK_EX, _HEADER.size)
            try:
                yield
            finally:
                fcntl.lockf(self._index, fcntl.LOCK_UN, _HEADER.size)

    def _begin(self) -> None:
        """Take over what is there, or begin anew where it is of another kind or its beginning was interrupted."""
        header = self._header()
        if (header.magic, header.entries) != (_MAGIC, self.entries):
            os.ftruncate(self._data, 0)
            # Zeros are written, so that no row can find the disk full later; the header comes last.
            self._write(self._index, 0, bytes(_HEADER.size + self.entries * _ROW_BYTES))
            header = _Header(_MAGIC, self.entries, self.generation, 0, 0)
        if header.generation != self.generation:
            header = header._replace(generation=self.generation, full=0)
        self._write(self._index, 0, _HEADER.pack(*header))

    def _header(self) -> _Header:
        packed = os.pread(self._index, _HEADER.size, 0)
        return _Header(*_HEADER.unpack(packed.ljust(_HEADER.size, b"\0")))

    def _reserve(self, size: int) -> int | None:
        """Where `size` bytes may be written; None where they do not fit, and then no others are tried."""
        with self._locked():
            header = self._header()
            if header.full:
                return None
            fits = header.used + size <= self.capacity
            changed = header._replace(used=header.used + size) if fits else header._replace(full=1)
            self._write(self._index, 0, _HEADER.pack(*changed))
            return header.used if fits else None

    def _stop(self, error: OSError) -> None:
        with self._locked():
            header = self._header()
            self._write(self._index, 0, _HEADER.pack(*header._replace(full=1)))
        if not header.full:
            logger.warning(
                "%s cannot hold more decoded images (%s): the others are decoded in each epoch; give the job a "
                "larger volume, or set cache_gb to what may be used",
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
