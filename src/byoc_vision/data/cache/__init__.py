"""The cache of decoded images: opened once per job, given to the data sets, closed at the end."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from byoc_vision.data.cache.images import CachePart, bytes_needed, cache_key, with_cache
from byoc_vision.data.cache.store import RecordStore
from byoc_vision.data.samples import Dataset
from byoc_vision.data.workers import SHARED_MEMORY
from byoc_vision.preprocess import Preprocess
from byoc_vision.system.memory import free_memory

logger = logging.getLogger(__name__)


CacheMode = Literal["auto", "off", "memory", "disk"]


@dataclass(frozen=True)
class Place:
    """A folder, and the size in bytes that the cache in it may reach."""

    folder: Path
    capacity: int


def choose_place(
    mode: CacheMode,
    gigabytes: float | None = None,
    *,
    memory: int | None,
    disk: Path | None = None,
    shared_memory: Path = SHARED_MEMORY,
) -> Place | None:
    """The location for a mode; None for no cache.

    auto: files on disk, at most half of the free memory, so that the kernel can keep all their pages: they are read
    from memory, and a program that needs the memory gets it. A larger cache would be read from the disk, which can be
    slower than decoding.
    disk: half of the free disk, whatever the memory. memory: files in shared memory, independent of a slow disk.

    Args:
        gigabytes: the limit, instead of both halves.
        memory: bytes that programs can still get; None if unknown.
    """
    if mode == "off":
        return None
    folder = shared_memory if mode == "memory" else disk or Path(tempfile.gettempdir())
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        logger.warning("cache=%s: %s cannot be used (%s); images are not cached", mode, folder, error.strerror)
        return None
    if gigabytes is not None:
        return Place(folder, min(int(gigabytes * 1e9), free))
    limits = [free // 2]
    if mode != "disk":
        limits.append((memory or 0) // 2)
    return Place(folder, min(limits))


_IN_USE = "in_use"


class CacheFolder:
    """A job's own folder below `place`, named after its content.

    The folder of a killed job with the same content is used again; others are removed. Each process that uses the
    folder holds a lock in it, which ends with the process; the last process that closes the folder removes it.
    """

    def __init__(self, place: Path, key: str) -> None:
        """Raises OSError if the folder cannot be made, or belongs to another user."""
        self.root = place / f"byoc-vision-cache-{os.getuid()}"
        self.path = self.root / key
        self.root.mkdir(mode=0o700, exist_ok=True)
        if self.root.stat().st_uid != os.getuid():
            raise PermissionError(f"{self.root} belongs to another user")
        with _locked(self.root):
            for other in self.root.iterdir():
                if other.is_dir() and other != self.path:
                    _remove_unless_used(other)
            self.path.mkdir(exist_ok=True)
            self._in_use = os.open(self.path / _IN_USE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._in_use, fcntl.LOCK_SH)

    def close(self) -> None:
        """Remove the folder, unless another process still uses it."""
        with _locked(self.root):
            # Closing is not enough: loader processes share the lock until they end.
            fcntl.flock(self._in_use, fcntl.LOCK_UN)
            os.close(self._in_use)
            _remove_unless_used(self.path)


def _remove_unless_used(folder: Path) -> None:
    try:
        file = os.open(folder / _IN_USE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    else:
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(file)


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Only one process at a time makes or removes folders."""
    file = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


__all__ = ["CacheMode", "CachePart", "ImageCache", "choose_place", "free_memory", "open_cache", "with_cache"]


@dataclass(frozen=True)
class ImageCache:
    """The cache of a job's training and validation images. `close` it when the job ends, to remove its files."""

    folder: CacheFolder
    store: RecordStore
    train: CachePart
    validation: CachePart

    @property
    def is_full(self) -> bool:
        """Whether some images did not fit."""
        return not self.store.has_room

    def close(self) -> None:
        self.store.close()
        try:
            self.folder.close()
        except OSError as error:  # not a reason to fail a job that has its model
            logger.warning("Cannot remove the cache %s (%s)", self.folder.path, error)


def open_cache(dataset: Dataset, preprocess: Preprocess, place: Place | None, generation: int) -> ImageCache | None:
    """The cache at a location, shared by all processes that open it for the same data; None if there is no room.

    generation: of the job, see `RecordStore`.
    """
    splits = (dataset.train, dataset.validation)
    count = sum(map(len, splits))
    needed = bytes_needed(count, preprocess, masks=dataset.task == "segmentation")
    if place is None:
        return None
    if place.capacity < needed / count:
        logger.warning("No room for decoded images in memory or in %s; images are not cached", place.folder)
        return None
    try:
        folder = CacheFolder(place.folder, cache_key(splits, dataset.classes, preprocess, dataset.mask_values))
        store = RecordStore(folder.path, count, place.capacity, generation)
    except OSError as error:
        logger.warning("Cannot keep decoded images in %s (%s); images are not cached", place.folder, error)
        return None
    _log(place, needed)
    first = len(dataset.train)
    return ImageCache(folder, store, CachePart(store, 0, first), CachePart(store, first, len(dataset.validation)))


def _log(place: Place, needed: int) -> None:
    if needed <= place.capacity:
        logger.info("Decoded images are kept in %s: about %.2g GB", place.folder, needed / 1e9)
        return
    logger.info(
        "Decoded images are kept in %s, %.2g GB of about %.2g; the others are decoded in each epoch. "
        "cache_gb raises the limit, cache=disk takes half of the free disk",
        place.folder,
        place.capacity / 1e9,
        needed / 1e9,
    )
