"""What a step belongs to."""

from __future__ import annotations

from enum import Enum


class ModeKeys(Enum):
    """GLOBAL: all of them."""

    TRAIN = 1
    EVAL = 2
    PREDICT = 3
    GLOBAL = 4
