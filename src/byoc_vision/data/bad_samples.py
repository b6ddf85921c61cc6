"""Samples that turn out to be unreadable while a job runs."""

from __future__ import annotations

import logging
from typing import Literal, NamedTuple

import torch

from byoc_vision.errors import DataError

logger = logging.getLogger(__name__)

OnBadSample = Literal["fail", "skip"]


class Unreadable(NamedTuple):
    """Stands in a batch for a sample that cannot be read.

    A loader's process hands over this and does not raise: of an error raised there its reader would get a traceback.
    """

    reason: str


class UnreadableSampleError(DataError):
    """A loader came upon a sample that cannot be used. There may be more."""


class BadSamples:
    """Which samples were found bad so far, by any process that shares this object: each is warned of once."""

    def __init__(self, count: int) -> None:
        self._known = torch.zeros(count, dtype=torch.bool).share_memory_()  # type: ignore[no-untyped-call]

    def warn(self, index: int, error: DataError, consequence: str) -> None:
        if not self._known[index]:
            self._known[index] = True
            logger.warning("%s; %s (on_bad_sample=skip)", error, consequence)
