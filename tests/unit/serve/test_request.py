"""A request's clock, and whether its client is still connected."""

from __future__ import annotations

import io
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import fields

import pytest

from byoc_serve.request import RequestContext

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A client's side of a TCP connection, and the server's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    with client, server:
        yield client, server


def received(server: socket.socket | None) -> RequestContext:
    """A request whose body has arrived."""
    request = RequestContext(io.BytesIO(b"body"), content_length=4, connection=server)
    assert request.receive(max_bytes=10, timeout=60.0) == b"body"
    return request


def test_the_deadline_counts_from_the_end_of_the_body() -> None:
    request = RequestContext(io.BytesIO(b"body"), content_length=4)
    assert request.remaining() == float("inf")
    before = time.monotonic()
    request.receive(max_bytes=10, timeout=60.0)
    assert before + 60 <= request.deadline <= time.monotonic() + 60
    request.deadline = before - 1
    assert request.remaining() == 0


def test_a_waiting_client_is_connected_and_loses_nothing(pair: Pair) -> None:
    client, server = pair
    request = received(server)
    assert request.is_connected()
    client.sendall(b"GET /next HTTP/1.1\r\n")
    assert request.is_connected()
    assert server.recv(100) == b"GET /next HTTP/1.1\r\n"
    assert request.is_connected()


def test_a_client_that_closes_is_gone(pair: Pair) -> None:
    client, server = pair
    request = received(server)
    client.close()
    assert not request.is_connected()


def test_a_client_that_is_cut_off_is_gone(pair: Pair) -> None:
    client, server = pair
    request = received(server)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close with a reset
    client.close()
    assert not request.is_connected()


def test_a_connection_closed_by_the_server_has_no_client(pair: Pair) -> None:
    _, server = pair
    request = received(server)
    server.close()
    assert not request.is_connected()


def test_a_client_that_ends_its_request_by_closing_its_side_may_still_listen(pair: Pair) -> None:
    client, server = pair
    client.shutdown(socket.SHUT_WR)
    assert received(server).is_connected()


def test_servers_that_show_no_connection_keep_every_client() -> None:
    assert received(None).is_connected()


def test_it_is_read_from_a_wsgi_environment() -> None:
    stream = io.BytesIO()
    environ = {
        "CONTENT_LENGTH": "17",
        "CONTENT_TYPE": "image/png",
        "HTTP_CONTENT_ENCODING": "gzip",
        "HTTP_ACCEPT": "application/json",
        "QUERY_STRING": "tile=auto",
        "HTTP_X_AMZN_SAGEMAKER_CUSTOM_ATTRIBUTES": "trace=1",
        "HTTP_X_AMZN_SAGEMAKER_TARGET_MODEL": "cars.tar.gz",
    }
    request = RequestContext.from_environ(environ, stream)
    expected = (stream, 17, "image/png", "gzip", "application/json", "tile=auto", "trace=1", "cars.tar.gz", None)
    assert tuple(getattr(request, item.name) for item in fields(RequestContext)[:9]) == expected
    chunked = RequestContext.from_environ({"HTTP_TRANSFER_ENCODING": "chunked"}, stream)
    assert (chunked.content_length, chunked.accept, chunked.query, chunked.attributes) == (None, None, "", None)
