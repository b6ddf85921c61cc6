"""Requests that declare or hold too much: refused, or answered within the memory that docs/http.md states.

Run by `make test-hostile`. It prints what each request costs: time, memory at its peak and afterwards, and the longest
that `/ping` waited meanwhile.
"""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
import requests
from support.images import encode
from support.servers import Server, start
from support.strain import PATIENCE, Strain, strain, worker_of

pytestmark = pytest.mark.timeout(1200)

MB = 10**6
REFUSALS = {400, 413, 415}
DECODED = 178 * 3 * 3 * MB  # an image of MAX_MEGAPIXELS in RGB, and the copies of it that decoding and resizing make
KEPT = 100 * MB  # that an allocator may hold on to
BASE = 64 * MB  # that any request may take, beside what its body makes it take


class Request(NamedTuple):
    """times: how many times its body, in bytes, the memory may grow by."""

    body: bytes
    content_type: str
    query: str = ""
    times: float = 8


def npy(shape: str, data: bytes = b"") -> bytes:
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header + data


def form(head: bytes, parts: int = 1) -> bytes:
    part = b'--e\r\nContent-Disposition: form-data; filename="a"\r\n' + head + b"\r\nx\r\n"
    return part * parts + b"--e--\r\n"


ONES = b"[" + b"1," * 1_000_000 + b"1]"
JSON, LINES, FORM, ARRAY = (
    "application/json",
    "application/jsonlines",
    "multipart/form-data; boundary=e",
    "application/x-npy",
)

REFUSED = {
    "JSON: a list of a million numbers": Request(ONES, JSON),
    "JSON: a million numbers as instances": Request(b'{"instances":' + ONES + b"}", JSON),
    "JSON: the same with errors=line": Request(b'{"instances":' + ONES + b"}", JSON, "?errors=line"),
    "JSON: 1.5 million empty objects": Request(b'{"instances":[' + b"{}," * 1_500_000 + b"{}]}", JSON),
    "JSON: 4 million short texts": Request(b'{"instances":[' + b'"ab",' * 4_000_000 + b'""]}', JSON),
    "JSON: a million keys": Request(b"{" + b",".join(b'"k%d":1' % n for n in range(1_000_000)) + b"}", JSON),
    "JSON: as many values as are allowed": Request(b"[" + b"{}," * 21_000 + b"{}]", JSON),
    "JSON: a nest": Request(b"[" * 1_000_000, JSON),
    "JSON: a nest as deep as is allowed": Request(b'{"image":' * 31_000, JSON),
    "JSON: base64 in 10 million pieces": Request(b'{"image":"' + b"AA " * 10_000_000 + b'"}', JSON),
    "JSON: one wide character": Request(b'{"image":"' + b"A" * 20_000_000 + "😀".encode() + b'"}', JSON),
    "JSON: one wide character, escaped": Request(b'{"image":"' + b"A" * 20_000_000 + rb"\ud83d\ude00" + b'"}', JSON),
    "JSON lines: a million numbers": Request(b"1\n" * 1_000_000, LINES),
    "JSON lines: 1.5 million empty objects": Request(b"{}\n" * 1_500_000, LINES),
    "JSON lines: the same with errors=line": Request(b"{}\n" * 1_500_000, LINES, "?errors=line"),
    "JSON lines: 20 million empty lines": Request(b"\n" * 20_000_000, LINES),
    "npy: a shape of digits": Request(npy("(" + "1" * 50 + "x)"), ARRAY),
    "npy: 60 million images without pixels": Request(npy("(60000000, 0, 5, 3)"), ARRAY),
    "npy: 10 million images of a pixel": Request(npy("(10000000, 1, 1, 3)", bytes(30_000_000)), ARRAY),
    "form: 4 million headers": Request(form(b"a: b\r\n" * 4_000_000), FORM),
    "form: a header of 20 MB": Request(form(b"a: " + b"b" * 20_000_000 + b"\r\n"), FORM),
    "form: as many headers as are allowed": Request(form(b"a: b\r\n" * 31, parts=1024), FORM),
    "form: parts that are not images": Request(form(b"", parts=64), FORM),
}
ANSWERED = {
    "JSON lines: as many bad ones as are allowed": Request(b"{}\n" * 102_400, LINES, "?errors=line", times=200),
    "JSON lines: bad ones of 500 numbers": Request((b"[" + b"1," * 500 + b"1]\n") * 20_000, LINES, "?errors=line"),
    "JSON lines: nests": Request((b"[" * 999 + b"\n") * 20_000, LINES, "?errors=line"),
}
# Damaged files of ../shared/hostile/images.py, which must not be answered as if they were images.
DAMAGED = {
    "gif_13000.gif",
    "jpg_13000x13000_header.jpg",
    "jpg_trunc.jpg",
    "png_trunc.png",
    "tif_tile1x1.tif",
    "webp_trunc.webp",
}


def send(server: Server, request: Request) -> Strain:
    def ask(server: Server) -> requests.Response:
        url = f"{server.url}/invocations{request.query}"
        headers = {"Content-Type": request.content_type, "Accept": "application/json"}
        return requests.post(url, data=request.body, headers=headers, timeout=PATIENCE)

    return strain(server, ask)


def check(server: Server, worker: int, request: Request, row: Strain) -> None:
    assert row.peak < BASE + request.times * len(request.body), str(row)
    assert row.kept < KEPT, str(row)
    assert worker_of(server) == worker, "the worker was replaced"


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, server: Server, table: dict[str, Strain]) -> None:
    worker = worker_of(server)
    table[name] = row = send(server, REFUSED[name])
    assert row.status in REFUSALS, str(row)
    assert b"Traceback" not in row.body
    assert len(row.body) < 2000
    check(server, worker, REFUSED[name], row)


@pytest.mark.parametrize("name", ANSWERED)
def test_answered_record_by_record(name: str, server: Server, table: dict[str, Strain]) -> None:
    request = ANSWERED[name]
    worker = worker_of(server)
    table[name] = row = send(server, request)
    assert row.status == 200, str(row)
    assert row.body.count(b'{"error": "record ') == request.body.count(b"\n")
    check(server, worker, request, row)


def test_images(images: Path, server: Server, table: dict[str, Strain]) -> None:
    """All of ../shared/hostile/images.py, whose names are known only when it has run; the slow ones last."""
    worker = worker_of(server)
    wrong = set()
    for file in sorted(images.iterdir()):
        kind = ARRAY if file.suffix == ".npy" else "application/x-image"
        request = Request(file.read_bytes(), kind)
        table[file.name] = row = send(server, request)
        answered = {200} - ({200} if file.name in DAMAGED else set())
        allowed = DECODED + request.times * len(request.body)
        if row.status not in REFUSALS | answered or row.peak > allowed or row.kept > KEPT:
            wrong.add(file.name)
    assert worker_of(server) == worker, "the worker was replaced"
    assert not wrong


BUDGET = 1000 * MB


def test_many_large_images_at_once(model: Path, tmp_path: Path, table: dict[str, Strain]) -> None:
    """One takes 512 MB, and 1,000 MB are allowed for all: they wait for each other."""
    body = cv2.imencode(".png", np.zeros((8000, 8000, 3), np.uint8))[1].tobytes()
    statuses: list[int] = []

    def ask(server: Server) -> requests.Response:
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda _: server.post(body, "image/png"), range(6)))
        statuses.extend(answer.status_code for answer in answers)
        assert all("Retry-After" in answer.headers for answer in answers if answer.status_code == 503)
        return answers[0]

    with start(model, tmp_path / "server.log", {"MEMORY_BUDGET_MB": str(BUDGET // 2**20)}) as server:
        server.pings_until(200)
        server.post(b"")
        table["six images of 64 MP at once"] = row = strain(server, ask)
    assert set(statuses) <= {200, 503}
    assert 200 in statuses
    assert row.peak < BUDGET + BASE, str(row)
    assert row.kept < KEPT, str(row)


def test_a_body_that_is_declared_too_large_costs_no_thread(server: Server, table: dict[str, Strain]) -> None:
    """Its client gets 413 before it has sent it, and is not waited for: more such clients than there are threads."""
    head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n" + bytes(1000)
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(100)]
        for client in clients:
            client.settimeout(PATIENCE)
            client.sendall(head)
        answers = [client.recv(2**16) for client in clients]
        table["100 declare 1 GB"] = row = strain(
            server, lambda server: server.post(encode(np.zeros((60, 80, 3), np.uint8)), "image/png")
        )
    assert all(answer.startswith(b"HTTP/1.1 413 ") and b"Connection: close" in answer for answer in answers)
    assert row.status == 200, str(row)
