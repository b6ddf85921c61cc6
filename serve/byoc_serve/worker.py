"""The process that serves requests: gunicorn's threaded worker, with a model."""

from __future__ import annotations

import contextlib
import selectors
import signal
import socket
import struct
import sys
import time
import warnings
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

from gunicorn.arbiter import Arbiter
from gunicorn.http.message import Request
from gunicorn.workers.gthread import TConn, ThreadWorker

from byoc_serve.metrics import Metrics
from byoc_serve.readiness import Readiness, State
from byoc_serve.scripts.source import Script
from byoc_serve.settings import Settings
from byoc_serve.slow_clients import TOO_LARGE, Connection
from byoc_serve.wsgi import make_service

STALL_SECONDS = 20  # after which a client that neither sends nor reads is dropped
LINGER_SECONDS = 5.0  # for clients to close a connection that the server has closed, and to read why
PING_THREADS = 4
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
_PING = b"GET /ping"
_DISCARDED_BYTES = 2**16


class Master(Protocol):
    """What the workers use of the process that forks them; created before."""

    settings: Settings
    readiness: Readiness
    metrics: Metrics
    script: Script | None


class Worker(ThreadWorker):
    """gthread that responds from its start, and ends if its model cannot be loaded.

    Every override says what gunicorn's own method does and why that does not suit; each has a test of its own.
    slot: the number of the worker, and of its GPU; set before it is forked.
    """

    app: Master
    slot: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lingering: deque[TConn] = deque()
        self._ping_pool = ThreadPoolExecutor(PING_THREADS, thread_name_prefix="ping")

    def init_signals(self) -> None:
        """Called after the fork, with STOPS blocked: see `run.SignalSafeArbiter`."""
        super().init_signals()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)

    def load_wsgi(self) -> None:
        """Called after the fork. The model is loaded in a thread of its own.

        gunicorn takes a finished app, and does not respond until the app is finished.
        """
        # Pillow warns about odd images, which concern only their client, and Python keeps the text of every warning.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        self.wsgi, self._service = make_service(
            self.app.settings,
            self.app.readiness,
            self.slot,
            self._end,
            self.app.metrics.worker(self.slot),
            self.app.script,
        )
        self._service.start()

    def run(self) -> None:
        """Serve until SIGTERM, then finish what was accepted.

        gunicorn's ends with status 0 whatever happened, and the master would start another worker, for ever.
        """
        super().run()
        self._service.stop()
        if self.app.readiness[self.slot] is State.FAILED:
            sys.exit(Arbiter.APP_LOAD_ERROR)

    def accept(self, listener: socket.socket) -> None:
        """Take a connection, and give it a thread once there is something to read.

        gunicorn gives it a thread at once, which waits there for 5 s: as many idle connections as threads stop the
        server. And it waits without limit for a client that stops in the middle of a request.
        """
        try:
            client, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):  # another worker was faster, or the client is gone
            return
        _limit_stalls(client)
        self.nr_conns += 1
        conn = Connection(self.cfg, client, address, listener.getsockname())
        conn.timeout = time.monotonic() + STALL_SECONDS
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def on_pending_socket_readable(self, conn: Connection, client: socket.socket) -> None:
        """Called in the main loop when a connection sends something.

        gunicorn gives it a thread at its first byte, which waits there for the rest of the head: as many clients that
        send it byte by byte as threads stop the server, and four that begin with `GET /ping` its health checks.
        """
        if self._has_head(conn, self.pending_conns):
            super().on_pending_socket_readable(conn, client)

    def on_client_socket_readable(self, conn: Connection, client: socket.socket) -> None:
        """As for the first request of a connection."""
        if self._has_head(conn, self.keepalived_conns):
            super().on_client_socket_readable(conn, client)

    def handle(self, conn: Connection) -> object:
        """Called in a thread. gunicorn's parser does not know what the main loop has read."""
        try:
            conn.begin_request()
        except OSError:
            return False
        return super().handle(conn)

    def handle_request(self, req: Request, conn: Connection) -> bool:
        """Called in a thread, with a request whose body was not read yet.

        gunicorn gives its app no way to end a connection, and reads what the app has left of a body for up to 5 s: as
        many clients as threads that declare large bodies stop the server. Here the app can say that it has refused
        one: its connection is closed after the response, in the poller (see `finish_request`).
        """
        req.body.close_after_response = req.force_close
        return bool(super().handle_request(req, conn))

    def _has_head(self, conn: Connection, waiting: deque[TConn]) -> bool:
        conn.head.receive(conn.sock)
        if conn.head.is_too_large:
            waiting.remove(conn)
            self.poller.unregister(conn.sock)
            with contextlib.suppress(OSError):
                conn.sock.send(TOO_LARGE)
            self._linger(conn)
            return False
        return conn.head.is_complete

    def enqueue_req(self, conn: Connection) -> None:
        """Give a connection that has something to read to a thread; called in the main loop.

        gunicorn has one pool of threads: when all are busy, health checks wait too, and the platform replaces a server
        for being busy. Here they have a pool of their own.
        """
        pool = self._ping_pool if conn.head.starts_with(_PING) else self.tpool
        future = pool.submit(self.handle, conn)
        future.add_done_callback(lambda done: self.method_queue.defer(self.finish_request, conn, done))

    def set_accept_enabled(self, enabled: bool) -> None:
        """Called with False when the worker stops, or has as many connections as it may.

        gunicorn then closes its socket on clients that the kernel has connected already: they see a reset. Here a
        worker that stops accepts them first.
        """
        if not enabled and not self.alive:
            for listener in self.sockets:
                before = -1
                while before < self.nr_conns < self.worker_connections:
                    before = self.nr_conns
                    self.accept(listener)
        super().set_accept_enabled(enabled)

    def finish_request(self, conn: Connection, future: Future[object]) -> None:
        """Called in the main loop when a thread is done with a connection.

        To close a connection gunicorn waits until the client has closed it too, up to 2 s, and its main loop stands
        still. Here the poller waits.
        """
        closes = not future.cancelled() and future.exception() is None and future.result() is False
        if closes:
            self._linger(conn)
            return
        conn.end_request()
        if conn.head.is_complete:
            self.enqueue_req(conn)
        else:
            super().finish_request(conn, future)

    def _linger(self, conn: TConn) -> None:
        """Close a connection once its client has closed it too, or after a while."""
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:  # the client was faster
            self._drop(conn)
            return
        conn.timeout = time.monotonic() + LINGER_SECONDS
        self._lingering.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._discard, conn))

    def murder_pending(self) -> None:
        """Called in every turn of the main loop. gunicorn does not know the connections that linger."""
        super().murder_pending()
        while self._lingering and self._lingering[0].timeout < time.monotonic():
            self._forget(self._lingering[0])

    def _cap_keepalive(self, deadline: float) -> None:
        """Called once, after SIGTERM.

        gunicorn still waits the full time for clients that have connected and sent nothing.
        """
        super()._cap_keepalive(deadline)
        for conn in self.pending_conns:
            conn.timeout = min(conn.timeout, deadline)

    def _discard(self, conn: TConn, client: socket.socket) -> None:
        """Read what a client still sends: if it stayed unread, the kernel would reset the connection on close, and the
        client might lose its response."""
        try:
            last = not client.recv(_DISCARDED_BYTES)
        except BlockingIOError:
            return
        except OSError:
            last = True
        if last:
            self._forget(conn)

    def _forget(self, conn: TConn) -> None:
        self._lingering.remove(conn)
        self.poller.unregister(conn.sock)
        self._drop(conn)

    def _drop(self, conn: TConn) -> None:
        self.nr_conns -= 1
        conn.close()

    def _end(self) -> None:
        """As on SIGTERM; called from the loader's thread."""
        self.alive = False
        self.method_queue.defer(lambda: None)


def _limit_stalls(client: socket.socket) -> None:
    """Set the kernel's time limits, in seconds and microseconds (socket(7))."""
    limit = struct.pack("ll", STALL_SECONDS, 0)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
