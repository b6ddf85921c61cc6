"""Entries for a store of decoded images, and a process that fills one beside others."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np

from byoc_vision.data.cache.store import RecordStore

ORIGINAL = 77


def unchanged() -> int:
    return ORIGINAL


def content(seed: int, size: int = 500) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def put(store: RecordStore, entry: int, data: bytes) -> bool:
    return store.put(entry, ORIGINAL, [memoryview(data[:10]), memoryview(data[10:])])


def get(store: RecordStore, entry: int, fingerprint: Callable[[], int] = unchanged) -> bytes | None:
    found = store.get(entry, fingerprint)
    return None if found is None else found.tobytes()


def fill(store: RecordStore, rounds: int) -> None:
    """What a loader's process does: all entries, again and again, in its own order."""
    random = np.random.default_rng(os.getpid())
    for _ in range(rounds):
        entry = int(random.integers(store.entries))
        found = get(store, entry)
        assert found in (None, content(entry)), f"entry {entry} is torn"
        if found is None:
            put(store, entry, content(entry))
