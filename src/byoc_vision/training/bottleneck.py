"""What holds a training up that waits for pictures, and which setting relieves it."""

from __future__ import annotations

import logging

import torch

from byoc_vision.data.cache import PictureCache
from byoc_vision.machine import available_cores
from byoc_vision.training.distribution import processes_per_host
from byoc_vision.training.throughput import Throughput

log = logging.getLogger(__name__)


def warn_of_waiting(
    epoch: int, throughput: Throughput, cache: PictureCache | None, workers: int, device: torch.device
) -> None:
    """Name the bottleneck in the log, where an epoch waited for pictures for too large a share of its time."""
    if throughput.deserves_warning(epoch):
        cores = max(1, available_cores() // processes_per_host())
        log.warning(
            "Epoch %d waited for pictures for %.0f %% of its time: %s",
            epoch,
            100 * throughput.data_wait,
            remedy(cache, workers, cores, on_gpu=device.type == "cuda"),
        )


def remedy(cache: PictureCache | None, workers: int, cores: int, *, on_gpu: bool) -> str:
    """The bottleneck, and the setting to change, in the order of what they gain.

    workers, cores: of this process alone.
    """
    if cache is None:
        return "each picture is decoded in each epoch; set cache=auto, or cache=disk where memory is short"
    if cache.is_full:
        return (
            "the cache is full, and what it does not hold is decoded in each epoch; raise cache_gb, set cache=disk, or "
            "take a smaller image_size or an instance with more memory"
        )
    most = cores if on_gpu else max(1, cores - 1)  # on a CPU the model needs one, at the least
    if workers < most:
        return f"{workers} processes read and augment pictures, and there are {cores} cores; set num_workers={most}"
    return (
        f"{workers} processes on {cores} cores cannot augment faster; take a lighter augmentation, such as flip, or an "
        "instance with more cores"
    )
