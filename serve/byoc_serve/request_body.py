"""A request's body, read up to a limit."""

from __future__ import annotations

import time
import zlib
from typing import IO

from gunicorn.http.errors import ParseException
from werkzeug.exceptions import ClientDisconnected

from byoc_vision.errors import RequestError

_PIECE = 2**16
_DRAIN_SECONDS = 5.0


def read_body(stream: IO[bytes], declared: int | None, limit: int, encoding: str | None = None) -> bytes:
    """The whole body.

    declared: its Content-Length, or None if it comes in chunks of unknown number.
    limit: in bytes, as it is sent and as it is decoded; more are not kept.
    encoding: its Content-Encoding; gzip is decoded.
    Raises RequestError: 413 above the limit, 400 if it is empty, damaged or ends early, 408 if it stops arriving, 415
    for another encoding.
    """
    coding = (encoding or "identity").strip().lower()
    if coding not in ("identity", "gzip", "x-gzip"):
        raise RequestError(415, f"Content-Encoding: {coding[:100]} is not supported; send the body as it is, or gzip")
    if declared is not None and declared > limit:
        raise _too_large(limit)
    body = _read(stream, limit + 1 if declared is None else declared)
    if len(body) > limit:
        raise _too_large(limit)
    if declared is not None and len(body) < declared:
        raise RequestError(400, f"the request ended after {len(body):,} of the {declared:,} bytes it declared")
    if not body:
        raise RequestError(400, "the request has no body; send an image")
    return body if coding == "identity" else _decompressed(body, limit)


def _decompressed(body: bytes, limit: int) -> bytes:
    """The content of a gzip file of one member. Never takes much more memory than `limit`."""
    decoder = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        content = decoder.decompress(body, limit + 1)
    except zlib.error as error:
        raise RequestError(400, f"the request's body is not gzip, as its Content-Encoding says: {error}") from error
    if len(content) > limit:
        raise _too_large(limit)
    if not decoder.eof or decoder.unused_data:
        raise RequestError(400, "the request's body is not one whole gzip file, as its Content-Encoding says")
    if not content:
        raise RequestError(400, "the request has no body; send an image")
    return content


def drain(stream: IO[bytes]) -> None:
    """Read and discard the rest of a body whose request is rejected.

    Most clients send the whole body before they read the response: if the connection were closed, they would see a
    reset instead of the reason.
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


def _too_large(limit: int) -> RequestError:
    return RequestError(413, f"the request's body is over the limit of {limit:,} bytes (see MAX_PAYLOAD_MB); send less")
