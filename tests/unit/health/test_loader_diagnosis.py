"""Which setting helps a training that waits for images."""

from __future__ import annotations

from pathlib import Path

import pytest

from byoc_vision.data.cache import ImageCache, Place, open_cache
from byoc_vision.data.samples import Dataset, Sample
from byoc_vision.health.loader_diagnosis import remedy
from byoc_vision.preprocess import Preprocess


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
