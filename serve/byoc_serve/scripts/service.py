"""A user's script in service: the queue before it, and the one thread that calls it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Thread, get_ident
from typing import Any, NamedTuple

from byoc_serve.batch import QUEUE_TIMEOUT, Batcher, FatalError, Observer
from byoc_serve.errors import is_fatal, raise_fatal_errors
from byoc_serve.request import RequestContext
from byoc_serve.scripts.context import Context
from byoc_serve.scripts.handlers import Handlers, ScriptRequest
from byoc_serve.scripts.process import ScriptProcess
from byoc_serve.service import EncodedResponse, Service
from byoc_serve.settings import Settings
from byoc_vision.errors import RequestError

HUNG_AFTER = 2  # times REQUEST_TIMEOUT; then no client waits for the call any more
_WATCH_SECONDS = 0.5
_FAREWELL_SECONDS = 0.5  # for responses to requests that waited for a call that hangs

logger = logging.getLogger(__name__)


class _Decoded(NamedTuple):
    """What `input_fn` made of a request, for a script that takes lists."""

    data: Any
    context: Context


class ScriptService(Service):
    """Requests wait here for the script. With `BATCHING`, `input_fn` and `output_fn` run in the requests' own threads,
    as many at once as there are cores, and `predict_fn` gets what has gathered while it was busy; otherwise one request
    is served after the other.
    """

    config = None

    def __init__(
        self, handlers: Handlers | ScriptProcess, settings: Settings, observer: Observer | None = None
    ) -> None:
        batch_size = settings.batch_size if handlers.takes_lists else 1
        super().__init__(Batcher(batch_size, settings.queue_length, observer=observer), settings)
        self._handlers = handlers
        self._local = handlers if isinstance(handlers, Handlers) and handlers.takes_lists else None
        self._calls: dict[int, float] = {}  # by thread: since when it is in a function of the script
        self._ended = Event()

    def __str__(self) -> str:
        return str(self._handlers)

    def warm_up(self) -> None:
        """The script decides what its model takes, so nothing can be computed before the first request."""

    def run(self) -> None:
        """Also watches the script's calls. Raises ResourceError if it can be called no more."""
        Thread(target=self._watch, name="watch", daemon=True).start()
        try:
            super().run()
        finally:
            self._ended.set()
            self._handlers.close()

    def _respond(self, request: RequestContext) -> EncodedResponse:
        body = self._receive(request)
        given = ScriptRequest(body, request.content_type, request.accept, request.record.id, request.headers)
        if self._local is None:
            response: EncodedResponse | Exception = self._result(given, request)
            if isinstance(response, Exception):
                raise response
            return response
        with self._in_own_thread(request):
            data, context = self._local.read(given)
        result = self._result(_Decoded(data, context), request)
        with self._in_own_thread(request):
            return self._local.write(result, given, context)

    def _result(self, item: Any, request: RequestContext) -> Any:
        pending = self._batcher.submit(item, request.deadline, QUEUE_TIMEOUT, request.is_connected)
        return request.result_of(pending)

    def _compute(self, batch: list[Any]) -> Sequence[Any]:
        with self._calling():
            if self._local is not None:
                return self._local.predict([item.data for item in batch])
            responses = self._handlers.respond_all(batch)
            errors = [one for one in responses if isinstance(one, Exception) and not isinstance(one, RequestError)]
            for error in filter(is_fatal, errors):
                raise error
            return responses

    @contextmanager
    def _in_own_thread(self, request: RequestContext) -> Iterator[None]:
        """For what the script computes in a request's thread: on one of the cores."""
        if self._local is not None:
            self._local.use_one_torch_thread()
        with request.holding(self._cores), self._calling():
            yield

    @contextmanager
    def _calling(self) -> Iterator[None]:
        """Watch a call, and end the process if the script has lost the GPU: every later call would fail."""
        self._calls[get_ident()] = time.monotonic()
        try:
            with raise_fatal_errors():
                yield
        except FatalError as error:
            if isinstance(self._handlers, Handlers):  # this process
                self._batcher.fail(error)
                raise
            self._handlers.abort()  # the next request starts another
            raise error.__cause__ or error from None
        finally:
            self._calls.pop(get_ident(), None)

    def _watch(self) -> None:
        """End the script's process if a call hangs: every later request would wait for it."""
        limit = HUNG_AFTER * self._settings.request_timeout
        while not self._ended.wait(_WATCH_SECONDS):
            since = min(list(self._calls.values()), default=None)
            if since is not None and time.monotonic() - since > limit:
                reason = f"the script has not returned from a call within {limit} s"
                logger.error("%s; its process ends, and another takes its place", reason)
                if isinstance(self._handlers, Handlers):  # this process
                    self._batcher.fail(FatalError(reason))
                    self._ended.wait(_FAREWELL_SECONDS)
                self._calls.clear()
                self._handlers.abort()
