"""The real server around a model that does as it is told, as a program: PORT SECONDS [ERROR].

It says how bright an image is, or, with STANDIN_MASKS in the environment, which pixels are, in masks of 0 and 255.
Each batch takes SECONDS; with ERROR, an image that is all white makes it raise torch's error of a lost GPU, which can
only be imitated where there is none.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

import numpy as np

from byoc_serve import run, wsgi
from byoc_serve.batcher import Observer
from byoc_serve.health import Board
from byoc_serve.loader import Loader
from byoc_serve.served import ServedModel
from byoc_serve.settings import Settings
from byoc_vision.artifact import ModelConfig
from byoc_vision.inference.predictor import Predictor
from byoc_vision.paths import MlPaths
from byoc_vision.preprocess import Preprocess
from byoc_vision.types import ClassInfo, ModelSpec

NAMES = ("dark", "bright")


class AcceleratorError(RuntimeError):
    """As torch names it."""


CARD = ModelConfig(
    model=ModelSpec(task="classification", architecture="standin", outputs=2),
    classes=tuple(ClassInfo(name=name) for name in NAMES),
    activation="softmax",
    preprocess=Preprocess(height=8, width=8),
)


MASKS = ModelConfig(
    model=ModelSpec(task="segmentation", architecture="standin", outputs=1),
    classes=(ClassInfo(name=NAMES[0], value=0), ClassInfo(name=NAMES[1], value=255)),
    activation="sigmoid",
    preprocess=Preprocess(height=64, width=64),
)


class Standin:
    """An engine that says how bright an image is, in its own time."""

    name, device = "stand-in", "nothing"

    def __init__(self, seconds: float, error: str | None) -> None:
        self._seconds = seconds
        self._error = error

    def warm_up(self, images: np.ndarray) -> None:
        pass

    def run(self, images: np.ndarray) -> np.ndarray:
        time.sleep(self._seconds)
        brightness = images.mean(axis=(1, 2, 3)) / 255
        if self._error and brightness.max() == 1:
            raise AcceleratorError(self._error)
        probabilities = np.stack([1 - brightness, brightness], axis=1).astype(np.float32)
        return np.log(probabilities.clip(1e-6))


class StandinForMasks(Standin):
    """Of each pixel."""

    def run(self, images: np.ndarray) -> np.ndarray:
        return (images.mean(axis=-1)[:, None] / 255 - 0.5).astype(np.float32)


class Unwarmed(Predictor):
    """Whose first batch is the first request's."""

    def warm_up(self, batch_size: int = 1) -> None:
        pass


def main() -> int:
    port, seconds, *error = sys.argv[1:]
    config, engine = (MASKS, StandinForMasks) if os.environ.get("STANDIN_MASKS") else (CARD, Standin)
    predictor = Unwarmed(config, engine(float(seconds), error[0] if error else None))

    def make_loader(
        settings: Settings, board: Board, slot: int, on_failure: Callable[[], None], observer: Observer
    ) -> Loader:
        return Loader(lambda: ServedModel(predictor, settings, observer), board, slot, on_failure)

    wsgi.make_loader = make_loader
    return run.serve(MlPaths.from_environment(), int(port))


if __name__ == "__main__":
    raise SystemExit(main())
