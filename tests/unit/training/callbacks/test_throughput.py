from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from byoc_vision.data.cache.location import Place
from torch import Tensor

from byoc_vision.data.cache import ImageCache, open_cache
from byoc_vision.data.samples import Dataset, Sample
from byoc_vision.preprocess import Preprocess
from byoc_vision.training.callbacks.step_timer import Timeline
from byoc_vision.training.distributed import World
from byoc_vision.training.loader_diagnosis import remedy
from byoc_vision.training.throughput import Meter, Throughput

CPU = torch.device("cpu")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def slow_batches(clock: Clock, count: int, size: int, seconds: float) -> Iterator[tuple[Tensor, Tensor]]:
    for _ in range(count):
        clock.now += seconds
        yield torch.zeros(size, 3, 2, 2), torch.zeros(size)


def test_the_shares_of_an_epoch() -> None:
    clock = Clock()
    meter = Meter(Timeline(CPU, clock))
    for _ in meter.watch(slow_batches(clock, count=5, size=8, seconds=1.0)):
        clock.now += 3.0
    throughput = meter.throughput(World())
    assert throughput.images_per_second == pytest.approx(40 / 20)
    assert throughput.data_wait == pytest.approx(0.25)
    assert throughput.waited == pytest.approx(5)
    assert throughput.own_wait == pytest.approx(0.25)


def test_an_epoch_that_is_left_early() -> None:
    clock = Clock()
    meter = Meter(Timeline(CPU, clock))
    for _ in itertools.islice(meter.watch(slow_batches(clock, count=5, size=8, seconds=1.0)), 2):
        clock.now += 1.0
    assert meter.throughput(World()).images_per_second == pytest.approx(16 / 4)


def test_no_batches_at_all() -> None:
    clock = Clock()
    meter = Meter(Timeline(CPU, clock))
    assert list(meter.watch(slow_batches(clock, count=0, size=1, seconds=0))) == []
    assert meter.throughput(World()) == Throughput()


@pytest.fixture
def cache(tmp_path: Path) -> ImageCache:
    samples = tuple(Sample(tmp_path / f"{index}.png", label=0) for index in range(4))
    opened = open_cache(Dataset("classification", (), samples, samples), RULE, Place(tmp_path, 500), 1)
    assert opened is not None
    return opened


RULE = Preprocess(height=8, width=8)


def test_the_setting_that_helps_is_named(cache: ImageCache) -> None:
    assert "set cache=auto" in remedy(None, workers=4, cores=4, on_gpu=True)
    assert "there are 8 cores; set num_workers=8" in remedy(cache, workers=4, cores=8, on_gpu=True)
    assert "set num_workers=7" in remedy(cache, workers=4, cores=8, on_gpu=False)
    assert "lighter augmentation" in remedy(cache, workers=8, cores=8, on_gpu=True)
    assert "lighter augmentation" in remedy(cache, workers=1, cores=1, on_gpu=False)
    for entry in range(3):
        cache.store.put(entry, 0, [memoryview(bytes(300))])
    assert "raise cache_gb" in remedy(cache, workers=4, cores=8, on_gpu=True)
