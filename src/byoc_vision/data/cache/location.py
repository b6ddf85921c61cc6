"""Where the cache lies, and how large it may become."""

from __future__ import annotations

import logging
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from byoc_vision.data.workers import SHARED_MEMORY

logger = logging.getLogger(__name__)

CacheMode = Literal["auto", "off", "memory", "disk"]

_HALF = 2


@dataclass(frozen=True)
class Place:
    """A folder, and the bytes that the cache in it may come to."""

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
    """The place for a mode; None where there is none.

    auto: files on disk, of which half of the free memory can hold all pages: they are read from there, and a program
    that needs the memory gets it. More would be read from the disk, which can be slower than decoding.
    disk: half of the free disk, whatever the memory. memory: files in shared memory, which no slow disk holds up.
    gigabytes: takes the place of both halves.
    memory: bytes that programs can still have; None where that is not known.
    """
    if mode == "off":
        return None
    folder = shared_memory if mode == "memory" else disk or Path(tempfile.gettempdir())
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        logger.warning("cache=%s: %s cannot be used (%s); there is no cache", mode, folder, error.strerror)
        return None
    if gigabytes is not None:
        return Place(folder, min(int(gigabytes * 1e9), free))
    limits = [free // _HALF]
    if mode != "disk":
        limits.append((memory or 0) // _HALF)
    return Place(folder, min(limits))
