"""Workers of gunicorn in a thread of the test instead of a process, on real sockets."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any

from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.workers.gthread import ThreadWorker

from byoc_serve.metrics import Metrics
from byoc_serve.readiness import Readiness
from byoc_serve.settings import Settings
from byoc_serve.worker import Worker

SOON = 60.0
WSGIApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class InThread(Worker):
    """The server's worker with an app of the test's."""

    wsgi_app: WSGIApp
    has_begun = False  # and can be stopped
    exit_status: int | None = None

    def init_signals(self) -> None:
        """Signals belong to pytest."""
        self.has_begun = True

    def load_wsgi(self) -> None:
        self.wsgi = self.wsgi_app
        self._service = SimpleNamespace(stop=lambda: None)

    def serve(self) -> None:
        try:
            self.init_process()
        except SystemExit as end:
            self.exit_status = end.code


@dataclass
class Running:
    worker: InThread
    thread: Thread
    port: int
    clients: list[socket.socket] = field(default_factory=list)

    def connect(self, request: bytes = b"") -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port), timeout=SOON)
        self.clients.append(client)
        client.sendall(request)
        return client

    def get(self, path: str) -> bytes:
        """The status line of a response on a connection of its own."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=SOON) as client:
            client.sendall(get(path))
            return status_line(client)

    def stop(self) -> None:
        self.worker.handle_exit(None, None)
        self.thread.join(SOON)
        assert not self.thread.is_alive()


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()


def status_line(client: socket.socket) -> bytes:
    with client.makefile("rb") as file:
        return file.readline()


def until(condition: Callable[[], object]) -> None:
    limit = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.005)


def make_worker(
    app: WSGIApp, gunicorns_own: str | None = None, threads: int = 1, kind: type[InThread] = InThread
) -> InThread:
    """A worker with a socket that listens. gunicorns_own: methods that are gunicorn's instead of the server's."""
    if gunicorns_own is not None:
        kind = type(
            "WithOneMethodOfGunicorn", (kind,), {name: getattr(ThreadWorker, name) for name in gunicorns_own.split()}
        )
    config = Config()
    config.set("threads", threads)
    config.set("worker_connections", 100)
    master = SimpleNamespace(settings=Settings(), readiness=Readiness(), metrics=Metrics(), script=None)
    listener = socket.create_server(("127.0.0.1", 0))
    worker = kind(1, os.getppid(), [listener], master, 30, config, Logger(config))
    worker.wsgi_app, worker.slot = app, 0
    return worker


@contextmanager
def running(worker: InThread) -> Iterator[Running]:
    thread = Thread(target=worker.serve, daemon=True)
    served = Running(worker, thread, worker.sockets[0].getsockname()[1])
    thread.start()
    until(lambda: worker.has_begun or not thread.is_alive())
    try:
        yield served
    finally:
        for client in served.clients:
            client.close()
        try:
            if thread.is_alive():
                served.stop()
        finally:
            worker.tmp.close()
            for descriptor in worker.PIPE:
                os.close(descriptor)


def hello(environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
    start("200 OK", [("Content-Length", "5")])
    return [b"hello"]


class Gated:
    """An app that holds requests, but no health checks, until its gate opens."""

    def __init__(self) -> None:
        self.gate, self.busy = Event(), Event()

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        if environ["PATH_INFO"] != "/ping":
            self.busy.set()
            assert self.gate.wait(SOON)
        return hello(environ, start)


def queued(worker: InThread) -> int:
    """Connections that wait for a thread."""
    return worker.tpool._work_queue.qsize()
