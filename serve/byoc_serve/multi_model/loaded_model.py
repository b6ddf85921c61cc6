"""A model that was brought into memory, and the thread that is its own."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import IO, TYPE_CHECKING, Any

from byoc_serve.errors import is_out_of_memory
from byoc_serve.multi_model import memory
from byoc_vision.errors import DataError, RequestError, UserError

if TYPE_CHECKING:  # importing it may import torch, which takes seconds
    from byoc_serve.model_service import EncodedResponse, ModelService

_END_SECONDS = 2.0
_PAUSE = 0.002

logger = logging.getLogger(__name__)


class LoadedModel:
    """Loads a model in a thread of its own, which then is the one that computes, until `stop`.

    source: called once, in that thread.
    Raises RequestError: 507 where memory does not suffice, 400 where the model is damaged, 500 for all else; nothing
    of the model is left in memory then.
    """

    def __init__(self, source: Callable[[], ModelService], name: str = "model") -> None:
        loaded: Future[ModelService] = Future()
        self._failure: str | None = None
        self._thread = Thread(target=self._live, args=(source, loaded), name=name, daemon=True)
        self._thread.start()
        try:
            self._model = loaded.result()
        except RequestError:
            _wait_for_end(self._thread)
            memory.give_back()
            raise

    def invoke(self, environ: dict[str, Any], stream: IO[bytes]) -> EncodedResponse:
        """As `ModelService.invoke`, and 507 where memory does not suffice. Raises RequestError."""
        if self._failure is not None:
            raise RequestError(500, f"the model does not work any more: {self._failure}; load it again")
        try:
            return self._model.invoke(environ, stream)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            logger.warning("out of memory in a request: %s", error)
        memory.give_back()  # out of the block: the error holds on to what it came through
        raise RequestError(507, "memory does not suffice for this request; unload a model, or send less at once")

    def stop(self) -> None:
        """Accept no more requests, answer those that were, and end the thread."""
        self._model.stop()
        _wait_for_end(self._thread)

    def _live(self, source: Callable[[], ModelService], loaded: Future[ModelService]) -> None:
        started = time.monotonic()
        try:
            model = source()
            model.warm_up()
        except Exception as error:  # reported to who waits for the model
            loaded.set_exception(_explain(error))
            return
        logger.info(
            "loaded in %.1f s: %s", time.monotonic() - started, str(model)
        )  # a log that keeps it would keep all
        loaded.set_result(model)
        try:
            model.run()
        except Exception as error:  # reported here, where all that the thread does ends
            logger.exception("a bug in running a model")
            self._failure = f"{type(error).__name__}: {error}"
            model.stop()


def _wait_for_end(thread: Thread) -> None:
    """`join` returns when Python is done with a thread; what libraries kept for it they free only after that."""
    thread.join()
    task = Path(f"/proc/self/task/{thread.native_id}")
    limit = time.monotonic() + _END_SECONDS
    while task.exists() and time.monotonic() < limit:
        time.sleep(_PAUSE)


def _explain(error: Exception) -> RequestError:
    """What to tell of an error in loading. It is a new one without a past: that would keep what was loaded alive."""
    if isinstance(error, RequestError):
        return RequestError(error.status, error.message)
    if is_out_of_memory(error):
        return RequestError(507, f"memory does not suffice to load the model ({type(error).__name__}); unload another")
    if isinstance(error, UserError):
        return RequestError(400 if isinstance(error, DataError) else 500, f"the model cannot be loaded: {error}")
    identity = secrets.token_hex(6)
    logger.error("error %s in loading a model", identity, exc_info=error)
    return RequestError(500, f"the server failed to load the model; its log says why (error {identity})")
