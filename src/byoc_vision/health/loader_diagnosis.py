"""Why a training waits for images, and which setting helps."""

from __future__ import annotations

import time

from byoc_vision.data.cache import ImageCache
from byoc_vision.data.image_dataset import ImageDataset
from byoc_vision.data.samples import DrawnMask, Sample
from byoc_vision.errors import DataError
from byoc_vision.health.facts import Loading
from byoc_vision.launch.distributed import processes_per_host
from byoc_vision.system.machine import available_cores

MEASURED = 8  # images: a tenth of a second for photographs of usual size


def measure(images: ImageDataset, *, cached: bool) -> Loading:
    """Load a few images in this process, and measure what takes the time; the mean of those that can be read.

    cached: whether the cache holds decoded images.
    """
    count = min(MEASURED, len(images))
    measured = [_measure(images, index * len(images) // count, cached) for index in range(count)]
    times = [seconds for seconds in measured if seconds is not None]
    if not times:
        return Loading(0.0, 0.0, 0.0, cached)
    disk, decode, augment = (sum(each) / len(times) for each in zip(*times, strict=True))
    return Loading(disk, decode, augment, cached)


def _measure(images: ImageDataset, index: int, cached: bool) -> tuple[float, float, float] | None:
    """Seconds to read a sample's files, to decode it, and to augment it."""
    try:
        disk = 0.0 if cached else _seconds_to_read(images.samples[index])
        started = time.perf_counter()
        images.preprocessed(index)  # its files are in memory by now
        decoded = time.perf_counter()
        images[index]
        done = time.perf_counter()
    except (DataError, OSError):
        return None
    decode = decoded - started
    return disk, decode, max(0.0, done - decoded - decode)


def _seconds_to_read(sample: Sample) -> float:
    started = time.perf_counter()
    for file in (sample.image, sample.mask):
        if file is not None and not isinstance(file, DrawnMask):  # an annotation file is read once, for all images
            file.read_bytes()
    return time.perf_counter() - started


def remedy(cache: ImageCache | None, workers: int, cores: int | None = None, *, on_gpu: bool) -> str:
    """The bottleneck, and the setting to change.

    workers, cores: of this process alone; by default its share of the cores that this container may use.
    """
    cores = cores or max(1, available_cores() // processes_per_host())
    if cache is None:
        return "each image is decoded in each epoch; set cache=auto, or cache=disk if memory is short"
    if cache.is_full:
        return (
            "the cache is full, and what it does not hold is decoded in each epoch; raise cache_gb, set cache=disk, or "
            "take a smaller image_size or an instance with more memory"
        )
    most = cores if on_gpu else max(1, cores - 1)  # on a CPU the model needs at least one
    if workers < most:
        return f"{workers} processes read and augment images, and there are {cores} cores; set num_workers={most}"
    return (
        f"{workers} processes on {cores} cores cannot augment faster; take a lighter augmentation, such as flip, or an "
        "instance with more cores"
    )
