"""Bodies of known and unknown length, good and bad."""

from __future__ import annotations

import gzip
import io

import pytest
from gunicorn.http.errors import InvalidChunkSize, NoMoreData

from byoc_serve.request_body import drain, read_body
from byoc_vision.errors import RequestError

LIMIT = 1000


class Failing(io.BytesIO):
    """A connection on which something goes wrong after the first bytes."""

    def __init__(self, error: Exception) -> None:
        super().__init__(b"the beginning")
        self.error = error

    def read(self, size: int | None = -1) -> bytes:
        raise self.error


@pytest.mark.parametrize("declared", [LIMIT, None])
def test_a_body_within_the_limit_is_read(declared: int | None) -> None:
    assert read_body(io.BytesIO(b"x" * LIMIT), declared, LIMIT) == b"x" * LIMIT


@pytest.mark.parametrize(
    ("content", "declared", "status"),
    [
        (b"x" * (LIMIT + 1), LIMIT + 1, 413),
        (b"x" * (LIMIT + 1), None, 413),
        (b"", 10**12, 413),  # not a byte is read of what is declared too large
        (b"x" * 10, 11, 400),
        (b"", 0, 400),
        (b"", None, 400),
    ],
)
def test_a_bad_body_is_refused(content: bytes, declared: int | None, status: int) -> None:
    with pytest.raises(RequestError) as raised:
        read_body(io.BytesIO(content), declared, LIMIT)
    assert raised.value.status == status


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NoMoreData(), 400),
        (InvalidChunkSize(b"x"), 400),
        (ConnectionResetError(), 400),
        (BlockingIOError(), 408),
    ],
)
def test_a_broken_connection_is_the_caller_s(error: Exception, status: int) -> None:
    with pytest.raises(RequestError) as raised:
        read_body(Failing(error), None, LIMIT)
    assert raised.value.status == status
    drain(Failing(error))


def packed(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)  # with the time in it a test has another name in each process


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip"])
def test_gzip_is_decoded(encoding: str) -> None:
    sent = gzip.compress(b"x" * LIMIT)
    assert read_body(io.BytesIO(sent), len(sent), LIMIT, encoding) == b"x" * LIMIT


@pytest.mark.parametrize(
    ("content", "encoding", "status", "said"),
    [
        (packed(b"x" * (LIMIT + 1)), "gzip", 413, "over the limit of 1,000 bytes"),
        (packed(bytes(10**7)), "gzip", 413, "over the limit"),
        (packed(b"")[:-1] + b"!", "gzip", 400, "not gzip"),
        (packed(b"x")[:-1], "gzip", 400, "not one whole gzip file"),
        (packed(b"x") * 2, "gzip", 400, "not one whole gzip file"),
        (packed(b""), "gzip", 400, "has no body"),
        (b"not compressed", "gzip", 400, "not gzip, as its Content-Encoding says"),
        (b"x", "br", 415, "Content-Encoding: br is not supported; send the body as it is, or gzip"),
    ],
)
def test_other_encodings_and_damage_are_named(content: bytes, encoding: str, status: int, said: str) -> None:
    with pytest.raises(RequestError, match=said) as raised:
        read_body(io.BytesIO(content), len(content), LIMIT if len(content) < LIMIT else len(content), encoding)
    assert raised.value.status == status


def test_what_was_refused_is_read_to_its_end() -> None:
    stream = io.BytesIO(b"x" * 1_000_000)
    drain(stream)
    assert stream.read() == b""
