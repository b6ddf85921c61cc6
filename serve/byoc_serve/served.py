"""A model in service: from the request as it came to the answer as it goes."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import BoundedSemaphore
from typing import IO, TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from werkzeug.wsgi import get_content_length

from byoc_serve.answers import Encoder, check_count
from byoc_serve.batcher import Batcher, FatalError, Observer
from byoc_serve.body import read_body
from byoc_serve.client import presence
from byoc_serve.faults import fatal_ones_told, told_to_the_caller
from byoc_serve.media import Limits, Payload, choose_reader, is_json_lines
from byoc_serve.negotiation import TEXTS, Form, choose_form
from byoc_serve.pipeline import PATIENCE, Caller, Outcome, Pipeline
from byoc_serve.request_log import Record
from byoc_serve.settings import Settings
from byoc_serve.wishes import Wishes, check_wishes, read_wishes
from byoc_vision.artifact import ModelCard
from byoc_vision.errors import ResourceError
from byoc_vision.inference.engines.base import Logits
from byoc_vision.inference.engines.openvino_engine import choose_lanes
from byoc_vision.inference.predictor import Predictor, Prepared
from byoc_vision.machine import available_cores, driver_version, visible_gpus

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

    def __init__(self, predictor: Predictor, settings: Settings, observer: Observer | None = None) -> None:
        self._predictor = predictor
        self._settings = settings
        self._batcher: Batcher[Prepared, Logits] = Batcher(
            settings.batch_size, settings.queue_length, settings.batch_wait_ms / 1000, _shape, observer
        )
        self._limits = Limits(self._batcher.capacity, settings.max_lines)
        # Decoding and encoding take a core and, for large pictures, much memory: no more of them than cores.
        cores = BoundedSemaphore(available_cores())
        self._pipeline = Pipeline(predictor, self._batcher, cores)

    def __str__(self) -> str:
        card, engine = self._predictor.card, self._predictor.engine
        architecture = "/".join(filter(None, (card.model.architecture, card.model.encoder)))
        return f"{architecture}, {card.task}, {len(card.classes)} classes, {engine.name} on {engine.device}"

    @property
    def card(self) -> ModelCard:
        return self._predictor.card

    def warm_up(self) -> None:
        """Make the first requests as fast as the next; to be called in the thread of `run`."""
        self._predictor.warm_up(self._settings.batch_size)

    def run(self) -> None:
        """Compute what requests wait for, until `stop` and the last of them.

        Raises ResourceError where the GPU fails for good.
        """
        try:
            self._batcher.run(self._forward)
        except FatalError as error:
            raise ResourceError(f"{error}; this process ends, so that the platform starts another") from error

    def stop(self) -> None:
        """Accept no more requests."""
        self._batcher.stop()

    def invoke(self, environ: WSGIEnvironment, stream: IO[bytes]) -> Rendered:
        """Answer a request whose body comes from `stream`. Raises RequestError."""
        with told_to_the_caller(self._settings.request_timeout):
            return self._answer(environ, stream)

    def _answer(self, environ: WSGIEnvironment, stream: IO[bytes]) -> Rendered:
        wishes = read_wishes(environ.get("QUERY_STRING", ""), environ.get(_ATTRIBUTES, ""))
        check_wishes(wishes, self._predictor.card)
        content_type = environ.get("CONTENT_TYPE")
        default = Form.JSON_LINES if is_json_lines(content_type) else None
        form = choose_form(environ.get("HTTP_ACCEPT"), self.card.model.task, wishes.view, default)
        read = choose_reader(content_type, self._limits)
        self._batcher.wait_for_room(patience=PATIENCE)
        payload = read(read_body(stream, get_content_length(environ), self._settings.max_body))
        caller = Caller(time.monotonic() + self._settings.request_timeout, presence(environ), Record.of(environ))
        check_count(form, payload.count)
        encoder = Encoder(form, palette=bool(wishes.palette))
        outcomes = self._outcomes(payload, form, wishes)
        with self._fatal_ones_end_it():
            pieces = self._pipeline.answer(outcomes, wishes.looks(form), encoder, caller)
            return Rendered(encoder.join(pieces, payload.several), form.media_type)

    @contextmanager
    def _fatal_ones_end_it(self) -> Iterator[None]:
        """A GPU works behind our back: what a batch has broken may show when its results are fetched."""
        try:
            with fatal_ones_told():
                yield
        except FatalError as error:
            self._batcher.fail(error)
            raise

    def _outcomes(self, payload: Payload, form: Form, wishes: Wishes) -> Iterator[Outcome]:
        """The pictures; or, where they are several and text can say so, errors in their places."""
        tolerant = (wishes.errors or self._settings.record_errors) == "line"
        if tolerant and payload.several and form in TEXTS:
            return payload.outcomes(self._settings.max_pixels)
        return payload.pictures(self._settings.max_pixels)

    def _forward(self, batch: list[Prepared]) -> Sequence[Logits]:
        with fatal_ones_told():
            return list(self._predictor.forward(np.stack([item.pixels for item in batch])))


def _shape(prepared: Prepared) -> tuple[int, ...]:
    """Only pictures of one shape make a batch."""
    return tuple(prepared.pixels.shape)


def load_model(settings: Settings, worker: int, observer: Observer | None = None) -> ServedModel:
    """The model of the settings, for one of the workers; the observer is told of its batches.

    Raises DataError where there is none or it is damaged, and ResourceError where the GPU's driver is too old.
    """
    cv2.setNumThreads(1)  # as many pictures as there are cores are worked on at once, see `ServedModel`
    device = _choose_gpu(settings, worker) if may_have_gpu(settings) else None
    threads = max(1, available_cores() // max(1, settings.workers))
    # Beside other models memory is dearer than speed.
    lanes = 1 if settings.multi_model else min(settings.batch_size, choose_lanes(threads))
    predictor = Predictor.load(settings.model, device, settings.engine, threads, lanes)
    return ServedModel(predictor, settings, observer)


def may_have_gpu(settings: Settings) -> bool:
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
