"""Whether the client of a request still waits for its answer."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


def presence(environ: WSGIEnvironment) -> Callable[[], bool]:
    """Something that tells, at any later time, whether the client is still there.

    Its side of the connection being closed counts as gone, as nginx has it, unless it was closed already when
    the request had come: then that is how this client ends a request, and it may well listen.
    """
    client = environ.get("gunicorn.socket")
    if client is None or _is_closed(client):
        return lambda: True
    return lambda: not _is_closed(client)


def _is_closed(client: socket.socket) -> bool:
    number = client.fileno()
    if number < 0:  # closed by us
        return True
    events = select.poll()
    events.register(number, select.POLLRDHUP)
    return bool(events.poll(0))
