"""Loading the model once, in a thread of its own, while the server answers already."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Event, Thread
from typing import TYPE_CHECKING

from byoc_serve.readiness import Readiness, State
from byoc_vision.errors import RequestError, UserError

if TYPE_CHECKING:  # importing it imports torch, which takes seconds
    from byoc_serve.model_service import ModelService
    from byoc_vision.artifact import ModelConfig

BUG_EXIT_CODE = 1

logger = logging.getLogger(__name__)


class Loader:
    """STARTING until `source` has given the model and it is warm, then READY; FAILED where that is impossible.

    source: called once, in the loader's thread, which then is the model's.
    on_failure: called last where the model cannot be loaded, or its thread has come to an end.
    """

    def __init__(
        self,
        source: Callable[[], ModelService],
        readiness: Readiness,
        worker: int = 0,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        self._source = source
        self._readiness = readiness
        self._worker = worker
        self._on_failure = on_failure
        self._model: ModelService | None = None
        self._decided = Event()
        self._stopping = False
        self._thread = Thread(target=self._run, name="model", daemon=True)
        self.failure: str | None = None
        readiness[worker] = State.STARTING

    @property
    def ready(self) -> bool:
        """Whether every worker's model is ready."""
        return self._readiness.ready

    @property
    def model(self) -> ModelService:
        """The model. Raises RequestError where it is not ready."""
        model = self._model
        if model is not None:
            return model
        if self.failure is not None:
            raise RequestError(500, f"the model cannot be served: {self.failure}")
        raise RequestError(503, "the model is being loaded; try again soon")

    @property
    def config(self) -> ModelConfig | None:
        """What the model is for; None while there is none."""
        return None if self._model is None else self._model.config

    def start(self) -> None:
        self._thread.start()

    def wait(self, timeout: float) -> State:
        """The state once it is decided, or after `timeout` seconds."""
        self._decided.wait(timeout)
        return self._readiness[self._worker]

    def stop(self) -> None:
        """Finish what was accepted, accept no more, and end the thread."""
        self._stopping = True
        model = self._model
        if model is not None:
            model.stop()
        self._thread.join()

    def _run(self) -> None:
        try:
            model = self._load()
            self._decided.set()
            if self._stopping:
                model.stop()
            model.run()
        except UserError as error:
            self._fail(str(error), error.exit_code)
        except Exception as error:  # reported here, where all that the model's thread does ends
            logger.exception("a bug in loading or running the model")
            self._fail(f"{type(error).__name__}: {error}", BUG_EXIT_CODE)

    def _load(self) -> ModelService:
        started = time.monotonic()
        model = self._source()
        model.warm_up()
        self._model = model
        self._readiness[self._worker] = State.READY
        logger.info("ready after %.1f s: %s", time.monotonic() - started, model)
        return model

    def _fail(self, reason: str, exit_code: int) -> None:
        logger.error("the model cannot be served: %s", reason)
        self._model = None
        self.failure = reason
        self._readiness.exit_code = exit_code
        self._readiness[self._worker] = State.FAILED
        self._decided.set()
        self._on_failure()
