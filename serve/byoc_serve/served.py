"""A model in service: from the request as it came to the answer as it goes."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from threading import BoundedSemaphore
from typing import IO, TYPE_CHECKING, NamedTuple

import numpy as np
from werkzeug.wsgi import get_content_length

from byoc_serve.answers import Encoder, check_count
from byoc_serve.batcher import Batcher, DeadlineError, QueueClosedError, QueueFullError
from byoc_serve.body import read_body
from byoc_serve.media import Payload, choose_reader, is_json_lines
from byoc_serve.negotiation import TEXTS, Form, choose_form
from byoc_serve.pipeline import PATIENCE, Outcome, Pipeline
from byoc_serve.settings import Settings
from byoc_serve.wishes import Wishes, check_wishes, read_wishes
from byoc_vision.errors import RequestError
from byoc_vision.inference.engines.base import Logits
from byoc_vision.inference.predictor import Predictor, Prepared
from byoc_vision.machine import available_cores, visible_gpus

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_ATTRIBUTES = "HTTP_X_AMZN_SAGEMAKER_CUSTOM_ATTRIBUTES"

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
        cores = BoundedSemaphore(available_cores())
        self._pipeline = Pipeline(predictor, self._batcher, cores)

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
        wishes = read_wishes(environ.get("QUERY_STRING", ""), environ.get(_ATTRIBUTES, ""))
        check_wishes(wishes, self._predictor.card)
        content_type = environ.get("CONTENT_TYPE")
        default = Form.JSON_LINES if is_json_lines(content_type) else None
        form = choose_form(environ.get("HTTP_ACCEPT"), self._predictor.card.task, wishes.view, default)
        read = choose_reader(content_type)
        try:
            self._batcher.wait_for_room(patience=PATIENCE)
            payload = read(read_body(stream, get_content_length(environ), self._settings.max_body))
            deadline = time.monotonic() + self._settings.request_timeout
            self._check_count(payload, form)
            encoder = Encoder(form, palette=bool(wishes.palette))
            outcomes = self._outcomes(payload, form, wishes)
            pieces = self._pipeline.answer(outcomes, wishes.looks(form), encoder, deadline)
            return Rendered(encoder.join(pieces, payload.several), form.media_type)
        except QueueFullError as error:
            raise RequestError(503, "too many requests are waiting already; try again soon") from error
        except QueueClosedError as error:
            raise RequestError(503, "the server is stopping") from error
        except DeadlineError as error:
            seconds = self._settings.request_timeout
            raise RequestError(504, f"the model had no time for this within {seconds} s; try again") from error

    def _check_count(self, payload: Payload, form: Form) -> None:
        count = len(payload.sources)
        check_count(form, count)
        if payload.limited and count > self._batcher.capacity:
            raise RequestError(413, f"{count} pictures in one request; {self._batcher.capacity} are the most")

    def _outcomes(self, payload: Payload, form: Form, wishes: Wishes) -> Iterator[Outcome]:
        """The pictures; or, where they are several and text can say so, errors in their places."""
        tolerant = (wishes.errors or self._settings.record_errors) == "line"
        if tolerant and payload.several and form in TEXTS:
            return payload.outcomes(self._settings.max_pixels)
        return payload.pictures(self._settings.max_pixels)

    def _forward(self, batch: list[Prepared]) -> Sequence[Logits]:
        return list(self._predictor.forward(np.stack([item.pixels for item in batch])))


def load_model(settings: Settings, worker: int) -> ServedModel:
    """The model of the settings, for one of the workers.

    Raises DataError where there is none or it is damaged, and ResourceError where the GPU's driver is too old.
    """
    device = _choose_gpu(settings, worker) if visible_gpus(os.environ) else None
    threads = max(1, available_cores() // max(1, settings.workers))
    return ServedModel(Predictor.load(settings.model, device, settings.engine, threads), settings)


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
