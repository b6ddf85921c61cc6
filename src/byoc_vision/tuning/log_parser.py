"""Reads the lines of a running job's log that `training.history.EpochRecord.line` writes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_LINE = re.compile(r"epoch=(\d+) (.+)")
_FIGURE = re.compile(r"(\S+?)=(\S+)")


@dataclass(frozen=True)
class EpochLine:
    """figures: by their names in the log, such as `validation:dice`, with its four digits."""

    epoch: int
    figures: Mapping[str, float]


def read_epoch(line: str) -> EpochLine | None:
    """The epoch that a line of the log tells of; None where it tells of something else."""
    found = _LINE.match(line)
    if found is None:
        return None
    told = {name: _number(word) for name, word in _FIGURE.findall(found[2])}
    return EpochLine(int(found[1]), {name: value for name, value in told.items() if value is not None})


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None  # data_wait=5%
