"""One request for predictions, from its arrival to its response."""

from __future__ import annotations

import math
import select
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import TIMEOUT_MAX, BoundedSemaphore
from typing import IO, TYPE_CHECKING, Any, TypeVar

from werkzeug.datastructures import EnvironHeaders
from werkzeug.http import parse_options_header
from werkzeug.wsgi import get_content_length

from byoc_serve.batch import DeadlineError, PendingResult
from byoc_serve.memory_budget import Claim
from byoc_serve.request_body import read_body
from byoc_serve.request_log import Record

if TYPE_CHECKING:  # importing them imports what decodes images, and the server responds before that
    from _typeshed.wsgi import WSGIEnvironment

    from byoc_serve.request_options import RequestOptions
    from byoc_serve.response_format import ResponseFormat

Result = TypeVar("Result")


@dataclass(slots=True)
class RequestContext:
    """What travels with a request through all of its steps; each step adds what the next ones need.

    stream: its body. content_length: in bytes, as declared; None if it comes in chunks of unknown number.
    content_type, content_encoding, accept, query, attributes, target_model: as its headers and its URL have them.
    connection: None if the server does not show it.
    record: what the log and the metrics will say about it.
    environ: the request as WSGI has it.
    options, response_format: what the client asks for; known once the headers are read.
    deadline: in seconds of `time.monotonic`; set once the body has arrived.
    claim: the memory that it holds.
    """

    stream: IO[bytes]
    content_length: int | None = None
    content_type: str | None = None
    content_encoding: str | None = None
    accept: str | None = None
    query: str = ""
    attributes: str | None = None
    target_model: str | None = None
    connection: socket.socket | None = None
    record: Record = field(default_factory=lambda: Record(id=""))
    environ: Mapping[str, Any] = field(default_factory=dict)
    options: RequestOptions = field(init=False)
    response_format: ResponseFormat = field(init=False)
    deadline: float = field(init=False, default=math.inf)
    claim: Claim = field(init=False, default_factory=Claim)

    @classmethod
    def from_environ(cls, environ: WSGIEnvironment, stream: IO[bytes]) -> RequestContext:
        return cls(
            stream,
            get_content_length(environ),
            environ.get("CONTENT_TYPE"),
            environ.get("HTTP_CONTENT_ENCODING"),
            environ.get("HTTP_ACCEPT"),
            environ.get("QUERY_STRING", ""),
            environ.get("HTTP_X_AMZN_SAGEMAKER_CUSTOM_ATTRIBUTES"),
            environ.get("HTTP_X_AMZN_SAGEMAKER_TARGET_MODEL"),
            environ.get("gunicorn.socket"),
            Record.of(environ),
            environ,
        )

    @property
    def headers(self) -> dict[str, str]:
        """All headers by their usual names, `Content-Type`."""
        return dict(EnvironHeaders(dict(self.environ)).items())

    def receive(self, max_bytes: int, timeout: float, copies: int = 2) -> bytes:
        """The whole body; `timeout` seconds for the response count from its end.

        copies: of a large body, that reading and parsing it make.
        Raises RequestError as `read_body` does, and 503 if there is no memory for it.
        """
        body = read_body(
            self.stream,
            self.content_length,
            max_bytes,
            self.content_encoding,
            lambda size: self.claim.take_for_body(copies * size),
        )
        self.deadline = time.monotonic() + timeout
        if self.connection is not None and _is_closed(self.connection):
            # This client ends its requests by closing its side of the connection, and may still listen.
            self.connection = None
        return body

    def is_connected(self) -> bool:
        """Whether the client still waits. If it has closed its side of the connection it does not, as for nginx."""
        return self.connection is None or not _is_closed(self.connection)

    def remaining(self) -> float:
        """Seconds until the deadline, at least 0."""
        return max(0.0, self.deadline - time.monotonic())

    def result_of(self, pending: PendingResult[Result]) -> Result:
        """The result of an item of this request, once it is computed.

        The record keeps the item that waited longest. Raises DeadlineError, and what computing it raised.
        """
        try:
            return pending.result(self.remaining())
        except TimeoutError as error:
            if pending.done():  # at the last moment, or the error is its own
                return pending.result()
            pending.cancel()
            raise DeadlineError from error
        finally:
            record, seconds = self.record, pending.queue_seconds
            if seconds is not None and seconds >= (record.queue_seconds or 0.0):
                record.queue_seconds, record.batch_size = seconds, pending.batch_size

    @contextmanager
    def holding(self, cores: BoundedSemaphore) -> Iterator[None]:
        """Hold one of the cores while the block computes in the request's own thread.

        Raises DeadlineError if the request's time is over before its turn has come.
        """
        if not cores.acquire(timeout=min(self.remaining(), TIMEOUT_MAX)):
            raise DeadlineError
        try:
            yield
        finally:
            cores.release()


def media_type_of(content_type: str | None) -> str:
    """A Content-Type without its parameters, in lower case."""
    return parse_options_header(content_type)[0].strip().lower()


def _is_closed(connection: socket.socket) -> bool:
    number = connection.fileno()
    if number < 0:  # closed by the server
        return True
    events = select.poll()
    events.register(number, select.POLLRDHUP)
    return bool(events.poll(0))
