"""The pieces put together.

`byoc-vision serve` brings its own server. Any other WSGI server with threads can run the app too, as in
`gunicorn --threads 80 'byoc_serve.wsgi:make_app()'`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from flask import Flask

from byoc_serve.app import create_app
from byoc_serve.loader import Loader
from byoc_serve.metrics import Metrics, WorkerMetrics
from byoc_serve.multi_model.loading import load
from byoc_serve.multi_model.registry import Registry
from byoc_serve.multi_model.routes import create_multi_model_app
from byoc_serve.readiness import Readiness, State
from byoc_serve.settings import Settings

if TYPE_CHECKING:
    from byoc_serve.batcher import Observer
    from byoc_serve.model_service import ModelService


def make_app() -> Flask:
    """The app as the environment variables want it; its model, if it has one, is being loaded."""
    settings = Settings.from_environment(os.environ)
    app, service = make_service(settings, Readiness(), worker=0)
    service.start()
    return app


def make_service(
    settings: Settings,
    readiness: Readiness,
    worker: int,
    on_failure: Callable[[], None] = lambda: None,
    metrics: WorkerMetrics | None = None,
) -> tuple[Flask, Loader | Registry]:
    """The app that the settings ask for, and what brings its model or models, which the caller starts and stops.

    metrics: what the worker counts; by default it is the only one.
    """
    metrics = metrics or Metrics().worker()
    if not settings.multi_model:
        loader = make_loader(settings, readiness, worker, on_failure, metrics)
        return create_app(settings, loader, metrics), loader
    registry = Registry(partial(load, settings=settings, observer=metrics), patience=settings.request_timeout)
    readiness[worker] = State.READY
    return create_multi_model_app(settings, registry, metrics), registry


def make_loader(
    settings: Settings,
    readiness: Readiness,
    worker: int,
    on_failure: Callable[[], None] = lambda: None,
    observer: Observer | None = None,
) -> Loader:
    """A loader of the settings' model, on the GPU that is the worker's own; the observer is told of its batches."""

    def load() -> ModelService:
        # In the loader's thread, not above: it imports torch, which takes seconds, and /ping must answer meanwhile.
        from byoc_serve.model_service import load_model

        return load_model(settings, worker, observer)

    return Loader(load, readiness, worker, on_failure)
