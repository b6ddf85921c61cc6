"""Each method of gunicorn's worker that the server replaces: what gunicorn's own does, and what the server's does.

Real workers of gunicorn on real sockets, in a thread of the test instead of a process. If a test of gunicorn's own
method fails after an update, the override may no longer be needed.
"""

from __future__ import annotations

import os
import selectors
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.arbiter import Arbiter
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.workers.gthread import TConn, ThreadWorker

from byoc_serve import slow_clients, wsgi
from byoc_serve import worker as worker_module
from byoc_serve.batcher import Observer
from byoc_serve.metrics import Metrics
from byoc_serve.model_service import ModelService
from byoc_serve.readiness import Readiness, State
from byoc_serve.settings import Settings
from byoc_serve.worker import Worker
from byoc_vision.inference.predictor import Predictor

SOON = 60.0
GUNICORNS_ACCEPT = "accept enqueue_req handle finish_request"  # the others need what the server's `accept` makes
WSGIApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class InThread(Worker):
    """The server's worker with an app of the test's."""

    wsgi_app: WSGIApp
    exit_status: int | None = None

    def init_signals(self) -> None:
        """Signals belong to pytest."""

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
    try:
        yield served
    finally:
        for client in served.clients:
            client.close()
        if thread.is_alive():
            served.stop()
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


class TestAccept:
    def test_gunicorn_gives_idle_connections_a_thread_each(self) -> None:
        with running(make_worker(hello, GUNICORNS_ACCEPT, threads=2)) as served:
            for _ in range(4):
                served.connect()
            until(lambda: queued(served.worker) == 2)  # two wait in threads, and two for a thread

    def test_idle_connections_take_no_thread(self) -> None:
        with running(make_worker(hello, threads=2)) as served:
            for _ in range(4):
                served.connect()
            until(lambda: len(served.worker.pending_conns) == 4)
            assert queued(served.worker) == 0
            assert served.get("/") == b"HTTP/1.1 200 OK\r\n"

    def test_an_idle_connection_gets_a_thread_once_it_sends(self) -> None:
        with running(make_worker(hello)) as served:
            client = served.connect()
            until(lambda: served.worker.pending_conns)
            client.sendall(get("/"))
            assert status_line(client) == b"HTTP/1.1 200 OK\r\n"

    def test_a_connection_that_stays_idle_is_closed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(worker_module, "STALL_SECONDS", 1)
        with running(make_worker(hello)) as served:
            assert served.connect().recv(1) == b""

    def receive_limit(self, gunicorns_own: str | None) -> bytes:
        """The kernel's limit for receiving on a connection that was accepted."""
        seen: list[bytes] = []

        def app(environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
            connection: socket.socket = environ["gunicorn.socket"]
            seen.append(connection.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16))
            return hello(environ, start)

        with running(make_worker(app, gunicorns_own)) as served:
            served.get("/")
        return seen[0]

    def test_gunicorn_reads_without_limit(self) -> None:
        assert self.receive_limit(GUNICORNS_ACCEPT) == bytes(16)

    def test_reading_has_a_limit(self) -> None:
        assert int.from_bytes(self.receive_limit(None)[:8], sys.byteorder) == worker_module.STALL_SECONDS

    def test_a_client_that_stalls_frees_its_thread(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(worker_module, "STALL_SECONDS", 1)
        stalled = Event()

        def app(environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
            if environ["REQUEST_METHOD"] == "POST":
                with pytest.raises(BlockingIOError):
                    environ["wsgi.input"].read()
                stalled.set()
            return hello(environ, start)

        with running(make_worker(app)) as served:
            client = served.connect(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
            assert stalled.wait(SOON)
            client.close()
            assert served.get("/") == b"HTTP/1.1 200 OK\r\n"


class TestEnqueueReq:
    def test_gunicorn_lets_health_checks_wait_for_other_requests(self) -> None:
        app = Gated()
        with running(make_worker(app, "enqueue_req")) as served:
            served.connect(get("/invocations"))
            assert app.busy.wait(SOON)
            ping = served.connect(get("/ping"))
            until(lambda: queued(served.worker) == 1)
            app.gate.set()
            assert status_line(ping) == b"HTTP/1.1 200 OK\r\n"

    def test_health_checks_have_threads_of_their_own(self) -> None:
        app = Gated()
        with running(make_worker(app)) as served:
            served.connect(get("/invocations"))
            assert app.busy.wait(SOON)
            assert served.get("/ping") == b"HTTP/1.1 200 OK\r\n"
            assert not app.gate.is_set()
            app.gate.set()


class TestOnPendingSocketReadable:
    """Of clients that send the head of a request slowly."""

    @pytest.mark.parametrize("path", ["/", "/ping"])
    def test_half_a_head_takes_no_thread(self, path: str) -> None:
        """Nor do many, whatever they ask for."""
        head = get(path)
        with running(make_worker(hello)) as served:
            slow = [served.connect() for _ in range(8)]
            for place in range(len(head) - 1):
                for client in slow:
                    client.sendall(head[place : place + 1])
            assert served.get("/ping") == b"HTTP/1.1 200 OK\r\n"
            assert served.get("/") == b"HTTP/1.1 200 OK\r\n"
            for client in slow:
                client.sendall(head[-1:])
                assert status_line(client) == b"HTTP/1.1 200 OK\r\n"

    def test_gunicorn_waits_for_the_head_in_a_thread(self) -> None:
        with running(make_worker(hello, "on_pending_socket_readable")) as served:
            served.connect(b"G")
            until(lambda: not served.worker.pending_conns and served.worker.nr_conns)
            served.connect(b"G")
            until(lambda: queued(served.worker) == 1)

    def test_a_head_has_its_time_however_it_comes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(worker_module, "STALL_SECONDS", 1)
        with running(make_worker(hello)) as served:
            client = served.connect(b"GET / HT")
            assert client.recv(1) == b""

    def test_a_head_that_is_too_large_is_refused(self) -> None:
        with running(make_worker(hello)) as served:
            client = served.connect(b"GET / HTTP/1.1\r\nX: " + b"x" * (slow_clients.LARGEST_HEAD + 1))
            assert status_line(client) == b"HTTP/1.1 431 Request Header Fields Too Large\r\n"

    def test_the_second_request_of_a_connection_may_be_slow_too(self) -> None:
        """Also if its first bytes come with the request before."""
        kept = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        with running(make_worker(hello)) as served:
            clients = [served.connect(kept + kept[:count]) for count in (0, 5)]
            for client in clients:
                assert client.recv(12) == b"HTTP/1.1 200"
            until(lambda: len(served.worker.keepalived_conns) == 2)
            clients[0].sendall(kept[:5])
            assert served.get("/") == b"HTTP/1.1 200 OK\r\n"
            for client in clients:
                client.sendall(kept[5:])
                with client.makefile("rb") as file:
                    assert any(b"HTTP/1.1 200" in line for line in file)

    def test_requests_that_come_together_are_all_answered(self) -> None:
        kept = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        with running(make_worker(hello)) as served:
            client = served.connect(kept + kept + get("/"))
            with client.makefile("rb") as file:
                assert file.read().count(b"HTTP/1.1 200 OK") == 3


class TestRatedUnreader:
    """Of a body that drips: each byte comes before the socket's own limit."""

    def received(self, pieces: list[tuple[float, bytes]]) -> bytes:
        """pieces: how long each takes, and its bytes. What is read of them."""
        now = 0.0
        server, client = socket.socketpair()
        with server, client:
            unreader = slow_clients.RatedUnreader(server, clock=lambda: now)
            unreader.begin(b"")
            read = b""
            original = server.recv
            for seconds, piece in pieces:
                client.sendall(piece)

                class Late:
                    def recv(self, size: int, seconds: float = seconds) -> bytes:
                        nonlocal now
                        now += seconds
                        return original(size)

                unreader.sock = Late()
                read += unreader.chunk()
            return read

    def test_a_body_that_drips_is_given_up(self) -> None:
        with pytest.raises(BlockingIOError, match="too slowly"):
            self.received([(1.0, b"x")] * 7)

    def test_a_slow_start_is_allowed(self) -> None:
        assert len(self.received([(4.0, b"x"), (0.5, b"y"), (0.4, b"z")])) == 3

    def test_a_body_at_the_minimum_rate_arrives(self) -> None:
        size = slow_clients.MIN_BYTES_PER_SECOND // 8
        assert len(self.received([(0.125, bytes(size))] * 100)) == 100 * size

    def test_a_thread_is_free_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(slow_clients, "BODY_GRACE_SECONDS", 0.0)
        monkeypatch.setattr(slow_clients, "MIN_BYTES_PER_SECOND", 2**40)
        given_up = Event()

        def app(environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
            if environ["REQUEST_METHOD"] == "POST":
                with pytest.raises(BlockingIOError):
                    environ["wsgi.input"].read()
                given_up.set()
            return hello(environ, start)

        with running(make_worker(app)) as served:
            client = served.connect(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
            while not given_up.wait(0.01):
                with suppress(OSError):
                    client.sendall(b"x")
            assert served.get("/") == b"HTTP/1.1 200 OK\r\n"


class TestHandleRequest:
    """Of a request whose app does not read its body, from a client that sends no more of it."""

    def head(self, served: Running) -> bytes:
        client = served.connect(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n" + bytes(1000))
        with client.makefile("rb") as file:
            return b"".join(iter(file.readline, b"\r\n"))

    @staticmethod
    def app(environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        getattr(environ["wsgi.input"], "close_after_response", lambda: None)()
        return hello(environ, start)

    def test_gunicorn_s_thread_waits_for_the_rest(self) -> None:
        with running(make_worker(self.app, "handle_request")) as served:
            assert b"Connection: keep-alive" in self.head(served)
            until(lambda: "finish_body" in stacks())

    def test_the_poller_waits_for_its_end(self) -> None:
        with running(make_worker(self.app)) as served:
            assert b"Connection: close" in self.head(served)
            until(lambda: len(served.worker._lingering) == 1)
            assert served.get("/") == b"HTTP/1.1 200 OK\r\n", "its thread is free"


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
            until(lambda: "in close_graceful" in stack_of(served.thread))
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


def stacks() -> str:
    """Where all threads are."""
    return "".join(line for frame in sys._current_frames().values() for line in traceback.format_stack(frame))


def stack_of(thread: Thread) -> str:
    frame = sys._current_frames().get(thread.ident or 0)
    return "".join(traceback.format_stack(frame)) if frame else ""
