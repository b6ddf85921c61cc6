"""A model in memory, and its thread."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from byoc_serve import memory
from byoc_vision.errors import DataError, RequestError, UserError
from byoc_vision.system.memory import free_memory, is_out_of_memory, memory_limit

if TYPE_CHECKING:  # importing it may import torch, which takes seconds
    from byoc_serve.request import RequestContext
    from byoc_serve.service import EncodedResponse, Service

_END_SECONDS = 2.0
_PAUSE = 0.002

logger = logging.getLogger(__name__)


class LoadedModel:
    """Loads a model in a thread of its own, which then computes for it, until `stop`.

    source: called once, in that thread.
    Raises RequestError: 507 if memory does not suffice, 400 if the model is damaged, 500 for all else; then nothing of
    the model is left in memory.
    """

    def __init__(self, source: Callable[[], Service]) -> None:
        loaded: Future[Service] = Future()
        self._failure: str | None = None
        self._thread = Thread(target=self._live, args=(source, loaded), name="model", daemon=True)
        self._thread.start()
        try:
            self._model = loaded.result()
        except RequestError:
            _wait_for_end(self._thread)
            memory.release_unused()
            raise

    def predict(self, request: RequestContext) -> EncodedResponse:
        """As `Service.predict`, and 507 if memory does not suffice. Raises RequestError."""
        if self._failure is not None:
            raise RequestError(500, f"the model does not work any more: {self._failure}; load it again")
        try:
            return self._model.predict(request)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            logger.warning("out of memory in a request: %s", error)
        memory.release_unused()  # outside of the block: there the error still holds its frames
        raise RequestError(507, "memory does not suffice for this request; unload a model, or send less at once")

    def stop(self) -> None:
        """Accept no more requests, finish the accepted ones, and end the thread."""
        self._model.stop()
        _wait_for_end(self._thread)

    def _live(self, source: Callable[[], Service], loaded: Future[Service]) -> None:
        started = time.monotonic()
        try:
            model = source()
            free = free_memory()
            try:
                model.warm_up()
            except Exception as error:
                if not is_out_of_memory(error) or memory.others_help(error, free, memory_limit()):
                    raise
                raise RequestError(
                    400,
                    f"a batch of the model's inputs does not fit into this server's memory ({error}); use a larger "
                    "instance, a smaller BATCH_SIZE, or a model with a smaller image_size",
                ) from error
        except Exception as error:  # reported to the caller, which waits for the model
            loaded.set_exception(_explain(error))
            return
        # As text: a log handler that kept the model would keep it in memory.
        logger.info("loaded in %.1f s: %s", time.monotonic() - started, str(model))
        loaded.set_result(model)
        try:
            model.run()
        except Exception as error:  # reported here, where the thread ends
            logger.exception("internal error in running a model")
            self._failure = f"{type(error).__name__}: {error}"
            model.stop()


def _wait_for_end(thread: Thread) -> None:
    """`join` returns when Python is done with a thread; libraries free its memory only after that."""
    thread.join()
    task = Path(f"/proc/self/task/{thread.native_id}")
    limit = time.monotonic() + _END_SECONDS
    while task.exists() and time.monotonic() < limit:
        time.sleep(_PAUSE)


def _explain(error: Exception) -> RequestError:
    """An error in loading as a new error, without the traceback, which would keep the loaded parts in memory."""
    if isinstance(error, RequestError):
        return RequestError(error.status, error.message)
    if is_out_of_memory(error):
        return RequestError(507, f"memory does not suffice to load the model ({type(error).__name__}); unload another")
    if isinstance(error, UserError):
        return RequestError(400 if isinstance(error, DataError) else 500, f"the model cannot be loaded: {error}")
    identity = secrets.token_hex(6)
    logger.error("error %s in loading a model", identity, exc_info=error)
    return RequestError(500, f"the server failed to load the model; its log says why (error {identity})")
