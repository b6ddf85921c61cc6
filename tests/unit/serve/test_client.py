"""Whether the other side of a connection is still there."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest

from byoc_serve.client import presence

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A client's side of a TCP connection, and the server's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    with client, server:
        yield client, server


def test_who_waits_is_there_and_loses_nothing(pair: Pair) -> None:
    client, server = pair
    present = presence({"gunicorn.socket": server})
    assert present()
    client.sendall(b"GET /next HTTP/1.1\r\n")
    assert present()
    assert server.recv(100) == b"GET /next HTTP/1.1\r\n"
    assert present()


def test_who_hangs_up_is_gone(pair: Pair) -> None:
    client, server = pair
    present = presence({"gunicorn.socket": server})
    client.close()
    assert not present()


def test_who_is_cut_off_is_gone(pair: Pair) -> None:
    client, server = pair
    present = presence({"gunicorn.socket": server})
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close with a reset
    client.close()
    assert not present()


def test_a_connection_that_we_have_closed_has_nobody_there(pair: Pair) -> None:
    _, server = pair
    present = presence({"gunicorn.socket": server})
    server.close()
    assert not present()


def test_who_ends_requests_by_closing_his_side_may_still_listen(pair: Pair) -> None:
    client, server = pair
    client.shutdown(socket.SHUT_WR)
    assert presence({"gunicorn.socket": server})()


def test_other_servers_tell_nothing() -> None:
    assert presence({})()
