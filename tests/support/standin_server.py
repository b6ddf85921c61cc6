"""The real server around a model that a test controls.

It says how bright an image is, or, with STANDIN_MASKS in the environment, which pixels are, in masks of 0 and 255.
A batch takes as long as the file `gate` exists. With `error`, an image that is all white makes it raise torch's error
of a lost GPU, which can only be imitated on a machine without one.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
from gunicorn.workers.gthread import ThreadWorker

from byoc_serve import run, wsgi
from byoc_serve.batch import Observer
from byoc_serve.model_service import ModelService
from byoc_serve.settings import Settings
from byoc_serve.worker import Worker
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
    """An engine that says how bright an image is, once the gate is gone."""

    name, device, streams = "stand-in", "nothing", 1

    def __init__(self, gate: Path | None, error: str) -> None:
        self._gate = gate
        self._error = error

    def warm_up(self, images: np.ndarray) -> None:
        pass

    def run(self, images: np.ndarray) -> np.ndarray:
        while self._gate is not None and self._gate.exists():
            time.sleep(0.01)
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


def serve(port: int, gate: Path | None, error: str) -> int:
    """Serve until SIGTERM; the exit status."""
    config, engine = (MASKS, StandinForMasks) if os.environ.get("STANDIN_MASKS") else (CARD, Standin)
    predictor = Unwarmed(config, engine(gate, error))

    def load_model(settings: Settings, worker: int, observer: Observer) -> ModelService:
        return ModelService(predictor, settings, observer)

    wsgi.load_model = load_model
    return run.serve(MlPaths.from_environment(), port)


def serve_and_stop_at_the_fork(port: int, gunicorns_own: str | None) -> int:
    """The same, stopped while its worker has no handlers of signals yet; a time of grace of 1 s."""
    if gunicorns_own:
        setattr(Worker, gunicorns_own, getattr(ThreadWorker, gunicorns_own))
    run.GRACE_SECONDS = 1
    os.register_at_fork(after_in_child=_stop_the_master)
    return serve(port, gate=None, error="")


def _stop_the_master() -> None:
    os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(0.5)  # it hands the signal on
