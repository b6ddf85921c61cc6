"""The app over HTTP in this process: without the seconds that a server of its own takes to start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from flask.testing import FlaskClient
from werkzeug.exceptions import NotFound
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.serving import make_server

from byoc_serve.app import create_app
from byoc_serve.loader import Loader, load_model
from byoc_serve.readiness import Readiness, State
from byoc_serve.service import Service
from byoc_serve.settings import Settings
from byoc_serve.wsgi import make_service

SOON = 120.0  # seconds; more than loading a small model takes


@contextmanager
def client_of(root: Path, settings: Settings | None = None) -> Iterator[FlaskClient]:
    """A client of the app of the trained model of `root`, once it is ready."""
    settings = settings or Settings(root=root)
    with client_around(lambda: load_model(settings, worker=0), settings) as client:
        yield client


@contextmanager
def client_around(load: Callable[[], Service], settings: Settings) -> Iterator[FlaskClient]:
    """A client of the app around what `load` makes, once it is ready."""
    loader = Loader(load, Readiness())
    loader.start()
    assert loader.wait(SOON) is State.READY
    try:
        yield create_app(settings, loader).test_client()
    finally:
        loader.stop()


@contextmanager
def app_of(root: Path, port: int, prefix: str = "") -> Iterator[Loader]:
    """The app of the model of `root`, which is loaded once the given loader is started.

    prefix: of the path, as a proxy would have it.
    """
    settings = Settings(root=root, port=port)
    app, loader = make_service(settings, Readiness())
    assert isinstance(loader, Loader)
    app = DispatcherMiddleware(NotFound(), {prefix: app})
    server = make_server("127.0.0.1", port, app, threaded=True)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield loader
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
