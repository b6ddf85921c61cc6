"""A model in service: from the request as it came to the answer as it goes."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from threading import BoundedSemaphore, Thread
from typing import IO, TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from werkzeug.wsgi import get_content_length

from byoc_serve.answers import check_count, render
from byoc_serve.batcher import Answer, Batcher, DeadlineError, FatalError, Observer
from byoc_serve.body import read_body
from byoc_serve.client import presence
from byoc_serve.faults import as_fatal, as_refusal
from byoc_serve.hardware import available_cores
from byoc_serve.media import choose_reader
from byoc_serve.negotiation import Form, choose_form
from byoc_serve.request_log import Record
from byoc_serve.settings import Settings
from byoc_vision.errors import RequestError, ResourceError
from byoc_vision.hardware import check_driver, find_gpus
from byoc_vision.inference.predictor import Predictor, Prepared
from byoc_vision.models.spec import Task

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

    def __init__(self, predictor: Predictor, settings: Settings, observer: Observer | None = None) -> None:
        self._predictor = predictor
        self._settings = settings
        self._batcher: Batcher[Prepared, Tensor] = Batcher(
            settings.batch_size, settings.queue_length, settings.batch_wait_ms / 1000, _shape, observer
        )
        # Decoding and encoding take a core and, for large pictures, much memory: no more of them than cores.
        self._cores = BoundedSemaphore(available_cores())

    def __str__(self) -> str:
        card = self._predictor.card
        architecture = "/".join(filter(None, (card.model.architecture, card.model.encoder)))
        return f"{architecture}, {card.task}, {len(card.classes)} classes, on {self._predictor.device}"

    @property
    def task(self) -> Task:
        return self._predictor.card.model.task

    def warm_up(self) -> None:
        """Make the first request as fast as the next; to be called in the thread of `run`."""
        workers = max(1, self._settings.workers)
        torch.set_num_threads(max(1, min(torch.get_num_threads(), available_cores() // workers)))
        self._predictor.warm_up()
        # The number above holds for this thread, and the last one set for those to come: what requests
        # compute in theirs they compute alone, or each would bring a pool of threads of its own.
        single = Thread(target=torch.set_num_threads, args=(1,))
        single.start()
        single.join()

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
        try:
            return self._answer(environ, stream)
        except RequestError:
            raise
        except Exception as error:
            # A GPU works behind our back: what a batch has broken may show when its results are fetched.
            if fatal := as_fatal(error):
                self._batcher.fail(fatal)
            refusal = as_refusal(fatal or error, self._settings.request_timeout)
            if refusal is None:
                raise
            raise refusal from error

    def _answer(self, environ: WSGIEnvironment, stream: IO[bytes]) -> Rendered:
        form = choose_form(environ.get("HTTP_ACCEPT"), self.task)
        read = choose_reader(environ.get("CONTENT_TYPE"))
        self._batcher.wait_for_room(patience=PATIENCE)
        payload = read(read_body(stream, get_content_length(environ), self._settings.max_body))
        deadline = time.monotonic() + self._settings.request_timeout
        self._check_count(len(payload.sources), form)
        wanted = presence(environ)
        with self._batcher.expecting(), self._cores:
            prepared = [self._predictor.prepare(rgb) for rgb in payload.pictures(self._settings.max_pixels)]
        answers = self._batcher.submit(prepared, deadline, PATIENCE, wanted)
        try:
            logits = _wait(answers, deadline)
        finally:
            _note(Record.of(environ), answers)
        with self._cores:
            finished = (self._predictor.finish(*pair) for pair in zip(logits, prepared, strict=True))
            return Rendered(render(finished, form, payload.several), form.media_type)

    def _check_count(self, count: int, form: Form) -> None:
        check_count(form, count)
        if count > self._batcher.capacity:
            raise RequestError(413, f"{count} pictures in one request; {self._batcher.capacity} are the most")

    def _forward(self, batch: list[Prepared]) -> Sequence[Tensor]:
        try:
            return self._predictor.forward(torch.stack([item.pixels for item in batch])).unbind()
        except Exception as error:
            if fatal := as_fatal(error):
                raise fatal from error
            raise


def _shape(prepared: Prepared) -> tuple[int, ...]:
    """Only pictures of one shape make a batch."""
    return tuple(prepared.pixels.shape)


def load_model(settings: Settings, worker: int, observer: Observer | None = None) -> ServedModel:
    """The model of the settings, for one of the workers; the observer is told of its batches.

    Raises DataError where there is none or it is damaged, and ResourceError where the GPU's driver is too old.
    """
    hardware = find_gpus()
    warning = check_driver(hardware, allow_cpu_fallback=settings.allow_cpu_fallback, serving=True)
    if worker == 0:
        log.info("%s", hardware)
        if warning:
            log.warning(warning)
    gpus = torch.cuda.device_count()
    device = f"cuda:{worker % gpus}" if gpus > 1 else None
    return ServedModel(Predictor.load(settings.model, device), settings, observer)


def _wait(answers: Sequence[Answer[Tensor]], deadline: float) -> list[Tensor]:
    """All of the answers, or the first error; none of the others is computed then, if it can be helped."""
    try:
        return [answer.result(max(0.0, deadline - time.monotonic())) for answer in answers]
    except TimeoutError as error:
        raise DeadlineError from error
    finally:
        for answer in answers:
            answer.cancel()


def _note(record: Record, answers: Sequence[Answer[Tensor]]) -> None:
    last = max(answers, key=lambda answer: answer.queue_seconds or 0.0)
    record.queue_seconds, record.batch_size = last.queue_seconds, last.batch_size
