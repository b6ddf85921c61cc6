"""The example.py beside an exported model, run as a user runs it."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest


def run_example(folder: Path, arguments: Sequence[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """`python example.py ARGUMENTS`, without the seconds that a process takes to start."""
    script = folder / "example.py"
    monkeypatch.setattr(sys, "argv", [str(script), *map(str, arguments)])
    runpy.run_path(str(script), run_name="__main__")


def answers_of(printed: str) -> list[tuple[str, float]]:
    """The names and probabilities that an example printed."""
    lines = [line.split(" ", 1) for line in printed.splitlines()]
    return [(name, float(probability)) for probability, name in lines]


def draw(path: Path, height: int, width: int) -> np.ndarray:
    """An image with coarse and fine structure, written to `path` without loss: uint8 RGB [height, width, 3]."""
    rng = np.random.default_rng(height)
    coarse = cv2.resize(rng.integers(0, 256, (5, 5, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    rgb = cv2.addWeighted(coarse, 0.8, rng.integers(0, 256, coarse.shape, np.uint8), 0.2, 0)
    cv2.imwrite(str(path), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    return rgb
