"""Each request's id, its metrics and its line in the log."""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from byoc_serve.metrics import WorkerMetrics

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

REQUEST_ID = "X-Request-Id"

_RECORD = "byoc.record"  # where a request's environ holds it
_GIVEN_IDS = ("HTTP_X_AMZN_SAGEMAKER_INFERENCE_ID", "HTTP_X_REQUEST_ID")
_SANE_ID = re.compile(r"[\x21-\x7e]{1,128}")

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Record:
    """What is known about a request; each step fills in what it learns.

    route: the path that it is counted under; for paths with names in them, their pattern.
    bytes_in: read of its body. queue_seconds, batch_size: of the image that waited longest.
    """

    id: str
    route: str = ""
    status: int = 500
    bytes_in: int = 0
    bytes_out: int = 0
    queue_seconds: float | None = None
    batch_size: int | None = None
    error: str | None = None

    @classmethod
    def of(cls, environ: WSGIEnvironment) -> Record:
        """The record of a request; an unused one if the request bypassed `Observed`."""
        record = environ.get(_RECORD)
        return record if isinstance(record, cls) else cls(id="")


class Observed:
    """WSGI middleware: gives each request an id, counts it, and logs it if `logs`."""

    def __init__(self, app: WSGIApplication, metrics: WorkerMetrics, logs: bool) -> None:
        self._app = app
        self._metrics = metrics
        self._logs = logs

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        started = time.perf_counter()
        record = Record(_identity(environ), environ.get("PATH_INFO", ""))
        environ[_RECORD] = record
        if self._logs:
            environ["wsgi.input"] = _Counted(environ["wsgi.input"], record)

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            record.status = int(status[:3])
            if self._logs:
                record.bytes_out = _length(headers)
            headers.append((REQUEST_ID, record.id))
            return start_response(status, headers, *more)

        body = self._app(environ, start)
        seconds = time.perf_counter() - started
        self._metrics.request(record.route, record.status, seconds)
        if self._logs:
            _log(environ, record, seconds)
        return body


class _Counted:
    """A request's body that counts its bytes as they are read."""

    def __init__(self, stream: IO[bytes], record: Record) -> None:
        self._stream = stream
        self._record = record
        self.close_after_response = getattr(stream, "close_after_response", None)

    def read(self, size: int = -1) -> bytes:
        piece = self._stream.read(size)
        self._record.bytes_in += len(piece)
        return piece


def _identity(environ: WSGIEnvironment) -> str:
    """The id from the platform or the client if it is valid in a header, else a new one."""
    for name in _GIVEN_IDS:
        given = environ.get(name)
        if given is not None and _SANE_ID.fullmatch(given):
            return str(given)
    return secrets.token_hex(8)


def _length(headers: list[tuple[str, str]]) -> int:
    return next((int(value) for name, value in headers if name.lower() == "content-length"), 0)


def _log(environ: WSGIEnvironment, record: Record, seconds: float) -> None:
    fields = {
        "id": record.id,
        "method": environ["REQUEST_METHOD"],
        "path": environ.get("PATH_INFO", ""),
        "status": record.status,
        "bytes_in": record.bytes_in,
        "bytes_out": record.bytes_out,
        "ms": _milliseconds(seconds),
        "queue_ms": _milliseconds(record.queue_seconds),
        "batch_size": record.batch_size,
        "error": record.error,
    }
    level = logging.ERROR if record.status == 500 else logging.INFO
    logger.log(level, "request", extra={"fields": {name: value for name, value in fields.items() if value is not None}})


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 3)
