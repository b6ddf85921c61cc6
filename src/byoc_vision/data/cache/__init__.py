"""The cache of decoded images: opened once a job, handed to the data sets, closed at the end."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from byoc_vision.data.cache.folders import CacheFolder
from byoc_vision.data.cache.images import CachePart, bytes_needed, cache_key, with_cache
from byoc_vision.data.cache.location import CacheMode, Place, choose_place
from byoc_vision.data.cache.store import RecordStore
from byoc_vision.data.samples import Dataset
from byoc_vision.preprocess import Preprocess
from byoc_vision.system.memory import free_memory

__all__ = ["CacheMode", "CachePart", "ImageCache", "choose_place", "free_memory", "open_cache", "with_cache"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageCache:
    """The cache of a job's training and validation images. Close it when the job ends: its files are removed."""

    folder: CacheFolder
    store: RecordStore
    train: CachePart
    validation: CachePart

    @property
    def is_full(self) -> bool:
        """Whether some images found no room."""
        return not self.store.has_room

    def close(self) -> None:
        self.store.close()
        try:
            self.folder.close()
        except OSError as error:  # no reason to fail a job that has its model
            logger.warning("The cache %s is not removed (%s)", self.folder.path, error)


def open_cache(dataset: Dataset, preprocess: Preprocess, place: Place | None, generation: int) -> ImageCache | None:
    """The cache at a place, shared by all processes there that ask for the same; None where it cannot be had.

    generation: of the job, see `RecordStore`.
    """
    splits = (dataset.train, dataset.validation)
    count = sum(map(len, splits))
    needed = bytes_needed(count, preprocess, masks=dataset.task == "segmentation")
    if place is None:
        return None
    if place.capacity < needed / count:
        logger.warning("There is no room for decoded images in memory or in %s; there is no cache", place.folder)
        return None
    try:
        folder = CacheFolder(place.folder, cache_key(splits, dataset.classes, preprocess, dataset.mask_values))
        store = RecordStore(folder.path, count, place.capacity, generation)
    except OSError as error:
        logger.warning("Decoded images cannot be kept in %s (%s); there is no cache", place.folder, error)
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
