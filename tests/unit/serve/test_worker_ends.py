"""Methods of gunicorn's worker that the server replaces, as in test_worker.py: how it begins and how it ends."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from gunicorn.arbiter import Arbiter
from gunicorn.workers.gthread import TConn, ThreadWorker
from support import forked
from support.gunicorn_workers import (
    SOON,
    InThread,
    WSGIApp,
    get,
    hello,
    make_worker,
    running,
    status_line,
    until,
)
from support.servers import free_port
from support.standin_server import serve_and_stop_at_the_fork

from byoc_serve import worker as worker_module
from byoc_serve import wsgi
from byoc_serve.batch import Observer
from byoc_serve.model_service import ModelService
from byoc_serve.readiness import State
from byoc_serve.settings import Settings
from byoc_serve.worker import Worker
from byoc_vision.inference.predictor import Predictor
from byoc_vision.system.stacks import stack_of


class TestSetAcceptEnabled:
    """Of a client that the kernel has connected, but not yet the worker, when SIGTERM comes."""

    def stop_with_a_client_in_the_backlog(self, worker: InThread) -> bytes:
        worker.alive = False
        client = socket.create_connection(worker.sockets[0].getsockname(), timeout=SOON)
        client.sendall(get("/"))
        with running(worker), client:
            try:
                return status_line(client)
            except ConnectionResetError:
                return b""

    def test_gunicorn_resets_its_connection(self) -> None:
        assert self.stop_with_a_client_in_the_backlog(make_worker(hello, "set_accept_enabled")) == b""

    def test_it_is_answered(self) -> None:
        assert self.stop_with_a_client_in_the_backlog(make_worker(hello)) == b"HTTP/1.1 200 OK\r\n"


class TestFinishRequest:
    """Of a client that does not close a connection which the server has closed."""

    def test_gunicorn_s_main_loop_waits_for_it(self) -> None:
        with running(make_worker(hello, "finish_request")) as served:
            client = served.connect(get("/"))
            until(lambda: any(line[2] == "close_graceful" for line in stack_of(served.thread)))
            client.close()

    def test_the_main_loop_goes_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(worker_module, "LINGER_SECONDS", SOON)
        with running(make_worker(hello)) as served:
            client = served.connect(get("/"))
            assert status_line(client) == b"HTTP/1.1 200 OK\r\n"
            until(lambda: len(served.worker._lingering) == 1)
            assert served.get("/") == b"HTTP/1.1 200 OK\r\n"
            assert served.worker._lingering
            client.close()
            until(lambda: not served.worker._lingering and not served.worker.nr_conns)

    def test_what_it_still_sends_does_not_reset_the_response(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(worker_module, "LINGER_SECONDS", SOON)
        with running(make_worker(hello)) as served:
            client = served.connect(get("/"))
            until(lambda: served.worker._lingering)
            client.sendall(b"x" * 1000)
            client.shutdown(socket.SHUT_WR)
            until(lambda: not served.worker.nr_conns)
            with client.makefile("rb") as file:
                assert file.read().endswith(b"hello")


class TestMurderPending:
    def lingering(self, gunicorns_own: str | None) -> int:
        """How many of one connection that has lingered too long are left."""
        worker = make_worker(hello, gunicorns_own)
        server, client = socket.socketpair()
        conn = TConn(worker.cfg, server, None, None)
        conn.timeout = time.monotonic() - 1
        with client, connections(worker, worker._lingering, conn):
            worker.murder_pending()
            return len(worker._lingering)

    def test_gunicorn_does_not_know_connections_that_linger(self) -> None:
        assert self.lingering("murder_pending") == 1

    def test_they_are_closed_after_their_time(self) -> None:
        assert self.lingering(None) == 0


class TestCapKeepalive:
    def remaining(self, gunicorns_own: str | None) -> float:
        """Seconds until a silent connection is closed, of 1000, when the worker stops within 2 s."""
        worker = make_worker(hello, gunicorns_own)
        server, client = socket.socketpair()
        conn = TConn(worker.cfg, server, None, None)
        conn.timeout = 1000.0
        with client, connections(worker, worker.pending_conns, conn):
            worker._cap_keepalive(2.0)
            return conn.timeout

    def test_gunicorn_waits_their_whole_time_for_silent_connections(self) -> None:
        assert self.remaining("_cap_keepalive") == 1000.0

    def test_a_worker_that_stops_does_not(self) -> None:
        assert self.remaining(None) == 2.0


@contextmanager
def connections(worker: InThread, where: Any, conn: TConn) -> Iterator[None]:
    """A connection among those that a worker, which does not run, waits for."""
    worker.poller = selectors.DefaultSelector()
    worker.poller.register(conn.sock, selectors.EVENT_READ)
    where.append(conn)
    try:
        yield
    finally:
        worker.poller.close()
        worker.tmp.close()
        worker.sockets[0].close()
        conn.close()


class TestRun:
    def exit_status(self, gunicorns_own: str | None) -> int | None:
        """Of a worker whose model cannot be loaded."""
        worker = make_worker(hello, gunicorns_own)
        with running(worker) as served:
            served.get("/")
            worker.app.readiness[0] = State.FAILED
            served.stop()
        return worker.exit_status

    def test_gunicorn_s_master_would_replace_a_worker_that_failed(self) -> None:
        assert self.exit_status("run") is None

    def test_a_worker_that_failed_ends_the_master(self) -> None:
        assert self.exit_status(None) == Arbiter.APP_LOAD_ERROR


class TestInitSignals:
    """Of a worker that is asked to stop as soon as it is forked."""

    def log(self, tmp_path: Path, gunicorns_own: str | None) -> str:
        log = tmp_path / "log"
        server = forked.start(
            serve_and_stop_at_the_fork, free_port(), gunicorns_own, log=log, environment={"LOG_LEVEL": "info"}
        )
        assert server.wait(SOON) == 0
        assert "Booting worker" in log.read_text()
        return log.read_text()

    def test_gunicorn_s_own_would_be_deaf(self, tmp_path: Path) -> None:
        assert "Worker exiting" not in self.log(tmp_path, "init_signals"), "it was killed after the time of grace"

    def test_it_ends_in_order(self, tmp_path: Path) -> None:
        assert "Worker exiting" in self.log(tmp_path, None)


class TestLoadWsgi:
    class Real(InThread):
        load_wsgi = Worker.load_wsgi

    class Gunicorns(InThread):
        load_wsgi = ThreadWorker.load_wsgi

        def run(self) -> None:
            ThreadWorker.run(self)

    def test_gunicorn_answers_nothing_until_the_app_is_there(self) -> None:
        worker = make_worker(hello, kind=self.Gunicorns)
        loading, gate = Event(), Event()

        def load() -> WSGIApp:
            loading.set()
            assert gate.wait(SOON)
            return hello

        worker.app.wsgi = load
        with running(worker) as served:
            client = served.connect(get("/ping"))
            assert loading.wait(SOON)
            assert not worker.booted
            gate.set()
            assert status_line(client) == b"HTTP/1.1 200 OK\r\n"

    def test_the_server_answers_while_the_model_is_loaded(
        self, classifier: Predictor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gate = Event()

        def load_model(settings: Settings, worker: int, observer: Observer) -> ModelService:
            assert gate.wait(SOON)
            return ModelService(classifier, settings, observer)

        monkeypatch.setattr(wsgi, "load_model", load_model)
        worker = make_worker(hello, kind=self.Real)
        with running(worker) as served:
            assert served.get("/ping") == b"HTTP/1.1 503 SERVICE UNAVAILABLE\r\n"
            gate.set()
            until(lambda: worker.app.readiness.ready)
            assert served.get("/ping") == b"HTTP/1.1 200 OK\r\n"

    def test_a_model_that_cannot_be_loaded_ends_the_worker(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def load_model(settings: Settings, worker: int, observer: Observer) -> ModelService:
            raise OSError("the disk is gone")

        monkeypatch.setattr(wsgi, "load_model", load_model)
        worker = make_worker(hello, kind=self.Real)
        with running(worker) as served:
            served.thread.join(SOON)
        assert worker.exit_status == Arbiter.APP_LOAD_ERROR
