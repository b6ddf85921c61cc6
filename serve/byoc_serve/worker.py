"""The process that answers requests: gunicorn's threaded worker, with a model."""

from __future__ import annotations

import socket
import struct
import sys
import warnings
from typing import TYPE_CHECKING

from gunicorn.arbiter import Arbiter
from gunicorn.workers.gthread import ThreadWorker

from byoc_serve.app import create_app
from byoc_serve.wsgi import make_loader

if TYPE_CHECKING:
    from byoc_serve.run import Server

STALL_SECONDS = 20  # a client that neither sends nor reads for so long is given up


class Worker(ThreadWorker):
    """gthread, which answers from the first moment on, and ends where its model cannot be loaded.

    slot: which of the workers it is, and so which GPU is its own; set before it is forked.
    """

    app: Server
    slot: int

    def load_wsgi(self) -> None:
        """Called by gunicorn after the fork."""
        # Pillow warns of what is odd in a picture, which is nobody's business here, and Python keeps every text.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        self._loader = make_loader(self.app.settings, self.app.board, self.slot, on_failure=self._end)
        self._loader.start()
        self.wsgi = create_app(self.app.settings, self._loader)

    def run(self) -> None:
        """Answer until SIGTERM, then finish what was accepted."""
        for listener in self.sockets:
            _limit_stalls(listener)
        super().run()
        self._loader.stop()
        if self._loader.failure is not None:
            sys.exit(Arbiter.APP_LOAD_ERROR)  # with any other status gunicorn would start another worker, for ever

    def set_accept_enabled(self, enabled: bool) -> None:
        if not enabled and not self.alive:
            self._accept_those_at_the_door()
        super().set_accept_enabled(enabled)

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


def _limit_stalls(listener: socket.socket) -> None:
    """Set the kernel's time limits; the sockets of accepted connections inherit them (socket(7))."""
    limit = struct.pack("ll", STALL_SECONDS, 0)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
