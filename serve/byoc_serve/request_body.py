"""A request's body, read up to a limit."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from typing import IO

from gunicorn.http.errors import ParseException
from werkzeug.exceptions import ClientDisconnected

from byoc_vision.errors import RequestError

_PIECE = 2**16
_SMALL = 2**20  # bytes, which are not claimed
_PART = 2**22
_DRAIN_SECONDS = 5.0
SOON_READ = 2**20  # bytes of a refused body, which are read so that its connection can stay open


def read_body(
    stream: IO[bytes],
    declared: int | None,
    limit: int,
    encoding: str | None = None,
    claim: Callable[[int], object] = lambda size: None,
) -> bytes:
    """The whole body.

    declared: its Content-Length, or None if it comes in chunks of unknown number.
    limit: in bytes, as it is sent and as it is decoded; more are not kept.
    encoding: its Content-Encoding; gzip is decoded.
    claim: called with the size of each part of a large body, before it is read or decoded.
    Raises RequestError: 413 above the limit, 400 if it is empty, damaged or ends early, 408 if it stops arriving, 415
    for another encoding.
    """
    coding = (encoding or "identity").strip().lower()
    if coding not in ("identity", "gzip", "x-gzip"):
        raise RequestError(415, f"Content-Encoding: {coding[:100]} is not supported; send the body as it is, or gzip")
    if declared is not None and declared > limit:
        raise _too_large(limit)
    wanted = limit + 1 if declared is None else declared
    body = _read(stream, min(wanted, _SMALL))
    if len(body) == _SMALL < wanted:
        body = _read_large(stream, body, wanted, claim)
    if len(body) > limit:
        raise _too_large(limit)
    if declared is not None and len(body) < declared:
        raise RequestError(400, f"the request ended after {len(body):,} of the {declared:,} bytes it declared")
    if not body:
        raise RequestError(400, "the request has no body; send an image")
    return body if coding == "identity" else _decompressed(body, limit, claim)


def _decompressed(body: bytes, limit: int, claim: Callable[[int], object]) -> bytes:
    """The content of a gzip file of one member, of which not more than `limit` is decoded."""
    decoder = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    parts: list[bytes] = []
    size = 0
    try:
        while not decoder.eof and size <= limit:
            if size >= _SMALL:
                claim(_PART)
            part = decoder.decompress(decoder.unconsumed_tail if parts else body, _PART)
            if not part and not decoder.unconsumed_tail:
                break
            parts.append(part)
            size += len(part)
    except zlib.error as error:
        raise RequestError(400, f"the request's body is not gzip, as its Content-Encoding says: {error}") from error
    if size > limit:
        raise _too_large(limit)
    if not decoder.eof or decoder.unused_data:
        raise RequestError(400, "the request's body is not one whole gzip file, as its Content-Encoding says")
    if not size:
        raise RequestError(400, "the request has no body; send an image")
    return b"".join(parts)


def drain(stream: IO[bytes]) -> None:
    """Read and discard the rest of a body whose request is rejected.

    Then the connection can stay open, and the client sees the response rather than a reset.
    """
    give_up = time.monotonic() + _DRAIN_SECONDS
    try:
        while stream.read(_PIECE) and time.monotonic() < give_up:
            pass
    except (OSError, ParseException, ClientDisconnected):
        return  # the client is gone, or sends something else


def _read(stream: IO[bytes], size: int) -> bytes:
    try:
        return stream.read(size)
    except BlockingIOError as error:  # the socket's own time limit, see worker.py
        raise RequestError(408, "the request's body stopped arriving; send it again") from error
    except (OSError, ParseException, ClientDisconnected) as error:
        raise RequestError(400, f"the request's body cannot be read: {error}") from error


def _read_large(stream: IO[bytes], start: bytes, wanted: int, claim: Callable[[int], object]) -> bytes:
    """Only what has arrived is claimed: a slow client holds little."""
    claim(len(start))
    parts, left = [start], wanted - len(start)
    while left:
        claim(min(left, _PART))
        part = _read(stream, min(left, _PART))
        parts.append(part)
        left -= len(part)
        if not part:
            break
    return b"".join(parts)


def _too_large(limit: int) -> RequestError:
    return RequestError(413, f"the request's body is over the limit of {limit:,} bytes (see MAX_PAYLOAD_MB); send less")
