"""A model in service: from the request as it came to the answer as it goes."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from concurrent.futures import Future
from threading import BoundedSemaphore
from typing import IO, TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from werkzeug.wsgi import get_content_length

from byoc_serve.answers import check_count, render
from byoc_serve.batcher import Batcher, DeadlineError, QueueClosedError, QueueFullError
from byoc_serve.body import read_body
from byoc_serve.media import choose_reader
from byoc_serve.negotiation import Form, choose_form
from byoc_serve.settings import Settings
from byoc_vision.errors import RequestError
from byoc_vision.inference.engines.base import Logits
from byoc_vision.inference.predictor import Predictor, Prepared
from byoc_vision.machine import available_cores, driver_version, visible_gpus

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


# Seconds that a request waits for room in the queue. Room may come; and clients who try again at once
# would have us do nothing but refuse them.
PATIENCE = 0.1

log = logging.getLogger(__name__)


class Rendered(NamedTuple):
    """The body of an answer and its media type."""

    body: bytes
    media_type: str


class ServedModel:
    """A predictor, and the queue before it.

    `invoke` may run in many threads. `run` belongs to one, which alone touches the model.
    """

    def __init__(self, predictor: Predictor, settings: Settings) -> None:
        self._predictor = predictor
        self._settings = settings
        self._batcher: Batcher[Prepared, Logits] = Batcher(settings.batch_size, settings.queue_length)
        # Decoding and encoding take a core and, for large pictures, much memory: no more of them than cores.
        self._cores = BoundedSemaphore(available_cores())

    def __str__(self) -> str:
        card, engine = self._predictor.card, self._predictor.engine
        architecture = "/".join(filter(None, (card.model.architecture, card.model.encoder)))
        return f"{architecture}, {card.task}, {len(card.classes)} classes, {engine.name} on {engine.device}"

    def warm_up(self) -> None:
        """Make the first requests as fast as the next; to be called in the thread of `run`."""
        self._predictor.warm_up(self._settings.batch_size)

    def run(self) -> None:
        """Compute what requests wait for, until `stop` and the last of them."""
        self._batcher.run(self._forward)

    def stop(self) -> None:
        """Accept no more requests."""
        self._batcher.stop()

    def invoke(self, environ: WSGIEnvironment, stream: IO[bytes]) -> Rendered:
        """Answer a request whose body comes from `stream`. Raises RequestError."""
        form = choose_form(environ.get("HTTP_ACCEPT"), self._predictor.card.task)
        read = choose_reader(environ.get("CONTENT_TYPE"))
        try:
            self._batcher.wait_for_room(patience=PATIENCE)
            payload = read(read_body(stream, get_content_length(environ), self._settings.max_body))
            deadline = time.monotonic() + self._settings.request_timeout
            self._check_count(len(payload.sources), form)
            with self._cores:
                prepared = [self._predictor.prepare(rgb) for rgb in payload.pictures(self._settings.max_pixels)]
            logits = _wait(self._batcher.submit(prepared, deadline, PATIENCE), deadline)
        except QueueFullError as error:
            raise RequestError(503, "too many requests are waiting already; try again soon") from error
        except QueueClosedError as error:
            raise RequestError(503, "the server is stopping") from error
        except DeadlineError as error:
            seconds = self._settings.request_timeout
            raise RequestError(504, f"the model had no time for this within {seconds} s; try again") from error
        with self._cores:
            answers = (self._predictor.finish(*pair) for pair in zip(logits, prepared, strict=True))
            return Rendered(render(answers, form, payload.several), form.media_type)

    def _check_count(self, count: int, form: Form) -> None:
        check_count(form, count)
        if count > self._batcher.capacity:
            raise RequestError(413, f"{count} pictures in one request; {self._batcher.capacity} are the most")

    def _forward(self, batch: list[Prepared]) -> Sequence[Logits]:
        return list(self._predictor.forward(np.stack([item.pixels for item in batch])))


def load_model(settings: Settings, worker: int) -> ServedModel:
    """The model of the settings, for one of the workers.

    Raises DataError where there is none or it is damaged, and ResourceError where the GPU's driver is too old.
    """
    cv2.setNumThreads(1)  # as many pictures as there are cores are worked on at once, see `ServedModel`
    device = _choose_gpu(settings, worker) if _may_have_gpu(settings) else None
    threads = max(1, available_cores() // max(1, settings.workers))
    return ServedModel(Predictor.load(settings.model, device, settings.engine, threads), settings)


def _may_have_gpu(settings: Settings) -> bool:
    """Whether it is worth asking torch, which takes seconds to import."""
    return settings.engine != "openvino" and bool(visible_gpus(os.environ) or driver_version(os.environ))


def _choose_gpu(settings: Settings, worker: int) -> str | None:
    """The worker's own, where there are several."""
    import torch

    from byoc_vision.hardware import check_driver, find_gpus

    hardware = find_gpus()
    warning = check_driver(hardware, allow_cpu_fallback=settings.allow_cpu_fallback, serving=True)
    if worker == 0:
        log.info("%s", hardware)
        if warning:
            log.warning(warning)
    gpus = torch.cuda.device_count()
    return f"cuda:{worker % gpus}" if gpus > 1 else None


def _wait(answers: Sequence[Future[Logits]], deadline: float) -> list[Logits]:
    """All of the answers, or the first error; none of the others is computed then, if it can be helped."""
    try:
        return [answer.result(max(0.0, deadline - time.monotonic())) for answer in answers]
    except TimeoutError as error:
        raise DeadlineError from error
    finally:
        for answer in answers:
            answer.cancel()
