"""What the server asks of a model, whatever computes its predictions: our artifact, or the user's own script."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any, NamedTuple

from byoc_serve.batch import QUEUE_TIMEOUT, Batcher, FatalError
from byoc_serve.errors import as_request_errors
from byoc_serve.memory_budget import Claim, shared_budget
from byoc_serve.settings import Settings
from byoc_vision.errors import ResourceError
from byoc_vision.system.machine import available_cores, share_of_cores

if TYPE_CHECKING:  # importing them imports what decodes images, and the server responds before that
    from byoc_serve.request import RequestContext
    from byoc_vision.artifact import ModelConfig


class EncodedResponse(NamedTuple):
    """The body of a response and its media type. headers: further ones, by name."""

    body: bytes
    media_type: str
    status: int = 200
    headers: dict[str, str] | None = None


class Service(ABC):
    """A model, and the queue before the one thread that computes, which alone touches it.

    `predict` may run in many threads. All else belongs to that thread.
    """

    def __init__(self, batcher: Batcher[Any, Any], settings: Settings) -> None:
        self._batcher = batcher
        self._settings = settings
        # Decoding and encoding take a core and, for large images, much memory: at most one request per core, and the
        # machine's workers (one for each GPU) divide the cores.
        self._cores = BoundedSemaphore(share_of_cores(available_cores(), settings.workers))

    @property
    @abstractmethod
    def config(self) -> ModelConfig | None:
        """The model's config; None if only a script knows it."""

    @abstractmethod
    def warm_up(self) -> None:
        """Make the first requests as fast as the next."""

    @abstractmethod
    def _respond(self, request: RequestContext) -> EncodedResponse:
        """The response to a request. Raises what `as_request_errors` takes."""

    @abstractmethod
    def _compute(self, batch: list[Any]) -> Sequence[Any]:
        """The results of items that were submitted to the queue, in order."""

    def predict(self, request: RequestContext) -> EncodedResponse:
        """The response to a request. Raises RequestError."""
        with as_request_errors(self._settings.request_timeout):
            return self._respond(request)

    def run(self) -> None:
        """Compute what requests wait for, until `stop` and the last of them.

        Raises ResourceError if this process can compute no more.
        """
        try:
            self._run_queue()
        except FatalError as error:
            raise ResourceError(f"{error}; this process ends, so that the platform starts another") from error

    def _run_queue(self) -> None:
        self._batcher.run(self._compute)

    def stop(self) -> None:
        """Accept no more requests."""
        self._batcher.stop()

    def _receive(self, request: RequestContext, copies: int = 2) -> bytes:
        """A request's body. copies: see `RequestContext.receive`."""
        settings = self._settings
        self._batcher.wait_for_room(QUEUE_TIMEOUT)  # before its body is read into memory
        request.claim = Claim(shared_budget(settings.memory_budget_mb, settings.workers))
        return request.receive(settings.max_body, settings.request_timeout, copies)
