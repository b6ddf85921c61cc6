"""An empty AWS on this machine: moto's server, asked over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import requests
from moto.server import ThreadedMotoServer


@contextmanager
def start_moto() -> Iterator[str]:
    """Its address. Servers of one process share what they hold, so it is emptied."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    requests.post(f"{address}/moto-api/reset", timeout=30)
    try:
        yield address
    finally:
        server.stop()
