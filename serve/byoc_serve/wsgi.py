"""The app together with its model or models.

`byoc-vision serve` starts it under gunicorn. Any other WSGI server with threads can run the app too, for example
`gunicorn --threads 80 'byoc_serve.wsgi:make_app()'`.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from flask import Flask

from byoc_serve.app import create_app
from byoc_serve.loader import Loader, load_model, load_one_of_many, load_script
from byoc_serve.metrics import Metrics, WorkerMetrics
from byoc_serve.multi_model.registry import Registry
from byoc_serve.multi_model.routes import create_multi_model_app
from byoc_serve.readiness import Readiness, State
from byoc_serve.scripts.source import Script, prepared_script
from byoc_serve.service import Service
from byoc_serve.settings import Settings


def make_app() -> Flask:
    """The app with the settings of the environment; its model, if it has one, is being loaded."""
    settings = Settings.from_environment(os.environ)
    stack = ExitStack()
    script = None if settings.multi_model else stack.enter_context(prepared_script(settings.model, os.environ))
    atexit.register(stack.close)
    app, service = make_service(settings, Readiness(), script=script)
    service.start()
    return app


def make_service(
    settings: Settings,
    readiness: Readiness,
    worker: int = 0,
    on_failure: Callable[[], None] = lambda: None,
    metrics: WorkerMetrics | None = None,
    script: Script | None = None,
) -> tuple[Flask, Loader | Registry]:
    """The app, and the loader of its model or the registry of its models; the caller starts and stops the latter.

    metrics: the worker's; by default it is the only one. script: serves in the place of our own model.
    """
    metrics = metrics or Metrics().worker()
    if not settings.multi_model:
        if script is None:
            source: Callable[[], Service] = partial(load_model, settings, worker, metrics)
        else:
            source = partial(load_script, settings, script, worker, metrics)
        loader = Loader(source, readiness, worker, on_failure)
        return create_app(settings, loader, metrics, has_script=script is not None), loader
    load = partial(load_one_of_many, settings=settings, observer=metrics)
    registry = Registry(load, unload_timeout=settings.request_timeout)
    readiness[worker] = State.READY
    return create_multi_model_app(settings, registry, metrics), registry
