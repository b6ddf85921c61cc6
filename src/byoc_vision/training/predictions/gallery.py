"""Which images to show: the few that come first by some rank, kept while many go by."""

from __future__ import annotations

import hashlib
from bisect import insort
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Key(NamedTuple):
    """An image's place: the lowest rank comes first; of equals the draw decides, the same in each epoch."""

    rank: float
    draw: int
    title: str
    sample_index: int


def drawn(seed: int, title: str) -> int:
    """A number by chance that depends on seed and title alone, not on which process sees the image, or when."""
    return int.from_bytes(hashlib.blake2b(f"{seed}\0{title}".encode(), digest_size=8).digest(), "big")


class Shelf(Generic[T]):
    """The `size` first of all that was put on it."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._kept: list[tuple[Key, T]] = []

    def put(self, key: Key, make: Callable[[], T]) -> None:
        """Keep what `make` makes, which is not called where there are enough before it."""
        if len(self._kept) == self.size and (not self.size or key >= self._kept[-1][0]):
            return
        insort(self._kept, (key, make()), key=lambda entry: entry[0])
        del self._kept[self.size :]

    @property
    def keys(self) -> list[Key]:
        """The first one's first."""
        return [key for key, _ in self._kept]

    def get(self, key: Key) -> T | None:
        return next((thing for own, thing in self._kept if own == key), None)
