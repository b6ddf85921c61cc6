"""Each method of gunicorn's worker that the server replaces: what gunicorn's own does, and what the server's does.

Real workers of gunicorn on real sockets, in a thread of the test instead of a process. If a test of gunicorn's own
method fails after an update, the override may no longer be needed.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from gunicorn.workers.gthread import ThreadWorker
from support.gunicorn_workers import (
    SOON,
    Gated,
    Running,
    get,
    hello,
    make_worker,
    queued,
    running,
    status_line,
    until,
)

from byoc_serve import slow_clients
from byoc_serve import worker as worker_module
from byoc_serve.worker import Worker
from byoc_vision.system.stacks import stacks

GUNICORNS_ACCEPT = "accept enqueue_req handle finish_request"  # the others need what the server's `accept` makes


def test_each_method_that_the_server_replaces_has_its_tests() -> None:
    replaced = [name for name in vars(Worker) if name in dir(ThreadWorker) and not name.startswith("__")]
    assert replaced
    here = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_worker*.py"))
    titles = {name: "".join(word.title() for word in name.split("_")) for name in replaced}
    assert [name for name, title in titles.items() if f"class Test{title}:" not in here] == []


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

    def test_requests_that_come_together_are_all_answered(self) -> None:
        kept = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        with running(make_worker(hello)) as served:
            client = served.connect(kept + kept + get("/"))
            with client.makefile("rb") as file:
                assert file.read().count(b"HTTP/1.1 200 OK") == 3


class TestOnClientSocketReadable:
    """Of the second request of a connection, whose head comes in two parts."""

    KEPT = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"

    def test_gunicorn_waits_for_the_rest_in_a_thread(self) -> None:
        with running(make_worker(hello, "on_client_socket_readable")) as served:
            client = served.connect(self.KEPT)
            assert client.recv(12) == b"HTTP/1.1 200"
            until(lambda: len(served.worker.keepalived_conns) == 1)
            client.sendall(self.KEPT[:5])
            until(lambda: "in chunk" in stacks())

    def test_it_takes_no_thread(self) -> None:
        """Also if its first bytes come with the request before."""
        with running(make_worker(hello)) as served:
            clients = [served.connect(self.KEPT + self.KEPT[:count]) for count in (0, 5)]
            for client in clients:
                assert client.recv(12) == b"HTTP/1.1 200"
            until(lambda: len(served.worker.keepalived_conns) == 2)
            clients[0].sendall(self.KEPT[:5])
            assert served.get("/") == b"HTTP/1.1 200 OK\r\n"
            for client in clients:
                client.sendall(self.KEPT[5:])
                with client.makefile("rb") as file:
                    assert any(b"HTTP/1.1 200" in line for line in file)


class TestHandle:
    """Of a connection whose head the main loop has read."""

    def test_gunicorn_s_thread_waits_for_the_head_again(self) -> None:
        with running(make_worker(hello, "handle")) as served:
            served.connect(get("/"))
            until(lambda: "in chunk" in stacks())

    def test_the_parser_begins_with_that_head(self) -> None:
        with running(make_worker(hello)) as served:
            assert served.get("/") == b"HTTP/1.1 200 OK\r\n"

    def test_a_connection_that_is_closed_ends_there(self) -> None:
        with running(make_worker(hello)) as served:
            ours, theirs = socket.socketpair()
            conn = slow_clients.Connection(served.worker.cfg, ours, "", ("127.0.0.1", 8080))
            ours.close()
            with theirs:
                assert served.worker.handle(conn) is False


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
