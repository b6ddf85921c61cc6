"""The pieces put together.

`byoc-vision serve` brings its own server. Any other WSGI server with threads can run the app too, as in
`gunicorn --threads 80 'byoc_serve.wsgi:make_app()'`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from flask import Flask

from byoc_serve.app import create_app
from byoc_serve.health import Board
from byoc_serve.loader import Loader
from byoc_serve.metrics import Metrics
from byoc_serve.settings import Settings

if TYPE_CHECKING:
    from byoc_serve.batcher import Observer
    from byoc_serve.served import ServedModel


def make_app() -> Flask:
    """The app as the environment variables want it; its model is being loaded."""
    settings = Settings.from_environment(os.environ)
    metrics = Metrics().worker()
    loader = make_loader(settings, Board(), worker=0, observer=metrics)
    loader.start()
    return create_app(settings, loader, metrics)


def make_loader(
    settings: Settings,
    board: Board,
    worker: int,
    on_failure: Callable[[], None] = lambda: None,
    observer: Observer | None = None,
) -> Loader:
    """A loader of the settings' model, on the GPU that is the worker's own; the observer is told of its batches."""

    def load() -> ServedModel:
        # In the loader's thread, not above: it imports torch, which takes seconds, and /ping must answer meanwhile.
        from byoc_serve.served import load_model

        return load_model(settings, worker, observer)

    return Loader(load, board, worker, on_failure)
