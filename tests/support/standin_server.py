"""The real server around a model that does as it is told, as a program: PORT SECONDS [ERROR].

Each batch takes SECONDS; with ERROR, a picture that is all white makes it raise torch's error of a lost GPU, which can
only be imitated where there is none.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from byoc_serve import run, worker
from byoc_serve.batcher import Observer
from byoc_serve.health import Board
from byoc_serve.loader import Loader
from byoc_serve.served import ServedModel
from byoc_serve.settings import Settings
from byoc_vision.artifact import ClassEntry, ModelCard
from byoc_vision.data.preprocess import Preprocess
from byoc_vision.inference.predictor import Classification, Prepared
from byoc_vision.models.spec import ModelSpec
from byoc_vision.paths import MlPaths

NAMES = ("dark", "bright")


class AcceleratorError(RuntimeError):
    """As torch names it."""


class Standin:
    """A predictor that says how bright a picture is, in its own time."""

    device = "nothing"
    card = ModelCard(
        model=ModelSpec(task="classification", architecture="standin", outputs=2),
        classes=tuple(ClassEntry(name=name) for name in NAMES),
        activation="softmax",
        preprocess=Preprocess(height=8, width=8),
    )

    def __init__(self, seconds: float, error: str | None) -> None:
        self._seconds = seconds
        self._error = error

    def warm_up(self) -> None:
        pass

    def prepare(self, rgb: np.ndarray) -> Prepared:
        return Prepared(torch.tensor([float(rgb.mean())]), rgb.shape[0], rgb.shape[1])

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        time.sleep(self._seconds)
        if self._error and batch.max() == 255:
            raise AcceleratorError(self._error)
        return batch / 255

    def finish(self, logits: torch.Tensor, prepared: Prepared) -> Classification:
        brightness = float(logits[0])
        return Classification(np.array([1 - brightness, brightness], np.float32), NAMES)


def main() -> int:
    port, seconds, *error = sys.argv[1:]
    predictor = Standin(float(seconds), error[0] if error else None)

    def make_loader(
        settings: Settings, board: Board, slot: int, on_failure: Callable[[], None], observer: Observer
    ) -> Loader:
        return Loader(lambda: ServedModel(predictor, settings, observer), board, slot, on_failure)

    worker.make_loader = make_loader
    return run.serve(MlPaths.from_environment(), int(port))


if __name__ == "__main__":
    raise SystemExit(main())
