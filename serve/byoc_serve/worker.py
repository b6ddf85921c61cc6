"""The process that answers requests: gunicorn's threaded worker, with a model."""

from __future__ import annotations

import selectors
import socket
import struct
import sys
import time
import warnings
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from gunicorn.arbiter import Arbiter
from gunicorn.workers.gthread import TConn, ThreadWorker

from byoc_serve.readiness import State
from byoc_serve.wsgi import make_service

if TYPE_CHECKING:
    from byoc_serve.run import Server

STALL_SECONDS = 20  # a client that neither sends nor reads for so long is given up
LINGER_SECONDS = 2.0  # for clients to close a connection that we have closed
PING_THREADS = 4
_PING = b"GET /ping"
_LAST_WORDS = 2**16  # bytes


class Worker(ThreadWorker):
    """gthread, which answers from the first moment on, and ends where its model cannot be loaded.

    slot: which of the workers it is, and so which GPU is its own; set before it is forked.
    """

    app: Server
    slot: int

    def init_process(self) -> None:
        self._lingering: deque[TConn] = deque()
        self._pings = ThreadPoolExecutor(PING_THREADS, thread_name_prefix="ping")
        super().init_process()

    def load_wsgi(self) -> None:
        """Called by gunicorn after the fork."""
        # Pillow warns of what is odd in an image, which is nobody's business here, and Python keeps every text.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        self.wsgi, self._service = make_service(
            self.app.settings, self.app.readiness, self.slot, self._end, self.app.metrics.worker(self.slot)
        )
        self._service.start()

    def run(self) -> None:
        """Answer until SIGTERM, then finish what was accepted."""
        for listener in self.sockets:
            _limit_stalls(listener)
        super().run()
        self._service.stop()
        if self.app.readiness[self.slot] is State.FAILED:
            sys.exit(Arbiter.APP_LOAD_ERROR)  # with any other status gunicorn would start another worker, for ever

    def accept(self, listener: socket.socket) -> None:
        """Take a connection, and give it a thread once there is something to read.

        gunicorn gives it one at once, to wait there: as many idle connections as threads would stop the server.
        """
        try:
            client, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):  # another worker was faster, or the client is gone
            return
        self.nr_conns += 1
        conn = TConn(self.cfg, client, address, listener.getsockname())
        conn.timeout = time.monotonic() + STALL_SECONDS
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def enqueue_req(self, conn: TConn) -> None:
        """Give a connection that has something to read to a thread; called in the main loop.

        Health checks have threads of their own: were they to wait in line with everyone, the platform
        would replace a server for being busy.
        """
        pool = self._pings if _is_ping(conn.sock) else self.tpool
        future = pool.submit(self.handle, conn)
        future.add_done_callback(lambda done: self.method_queue.defer(self.finish_request, conn, done))

    def set_accept_enabled(self, enabled: bool) -> None:
        if not enabled and not self.alive:
            self._accept_those_at_the_door()
        super().set_accept_enabled(enabled)

    def finish_request(self, conn: TConn, future: Future[object]) -> None:
        """Called in the main loop when a thread is done with a connection.

        Where it is to be closed, gunicorn waits for the client to close it, too, up to 2 s, and answers
        nobody meanwhile. Here the main loop goes on.
        """
        closes = not future.cancelled() and future.exception() is None and future.result() is False
        if not closes:
            super().finish_request(conn, future)
            return
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:  # the client was faster
            self._drop(conn)
            return
        conn.timeout = time.monotonic() + LINGER_SECONDS
        self._lingering.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._read_last_words, conn))

    def murder_pending(self) -> None:
        """Called in every turn of the main loop."""
        super().murder_pending()
        while self._lingering and self._lingering[0].timeout < time.monotonic():
            self._forget(self._lingering[0])

    def _cap_keepalive(self, deadline: float) -> None:
        """Called once, when SIGTERM came: who has not said a word by then is not waited for."""
        super()._cap_keepalive(deadline)
        for conn in self.pending_conns:
            conn.timeout = min(conn.timeout, deadline)

    def _read_last_words(self, conn: TConn, client: socket.socket) -> None:
        """Were they left unread, the kernel would reset the connection, and the client might lose our answer."""
        try:
            last = not client.recv(_LAST_WORDS)
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

    def _accept_those_at_the_door(self) -> None:
        """The kernel has told waiting clients that they are connected: they get their answer, too."""
        for listener in self.sockets:
            before = -1
            while before < self.nr_conns < self.worker_connections:
                before = self.nr_conns
                self.accept(listener)

    def _end(self) -> None:
        """As on SIGTERM; called from the loader's thread."""
        self.alive = False
        self.method_queue.defer(lambda: None)


def _is_ping(client: socket.socket) -> bool:
    """Whether the next request is a health check, as far as its first bytes say."""
    client.setblocking(False)
    try:
        return client.recv(len(_PING), socket.MSG_PEEK) == _PING
    except OSError:  # nothing there yet, or the client is gone: its thread will find out
        return False


def _limit_stalls(listener: socket.socket) -> None:
    """Set the kernel's time limits; the sockets of accepted connections inherit them (socket(7))."""
    limit = struct.pack("ll", STALL_SECONDS, 0)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
