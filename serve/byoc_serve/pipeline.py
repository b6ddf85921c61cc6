"""The way of a request's images through the model that all requests share.

Images are decoded, cut up and encoded in the request's own thread, and what is to be computed goes through the
batcher piece by piece: so much ahead that the model is never idle for want of it, and no more, so that a request of
many pieces fills neither the queue that its neighbours need nor the memory.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from threading import BoundedSemaphore
from typing import NamedTuple

import numpy as np

from byoc_serve.batcher import Answer, Batcher, DeadlineError
from byoc_serve.request_log import Record
from byoc_serve.response_encoding import Encoder, Piece
from byoc_serve.response_format import ResponseFormat
from byoc_vision.artifact import ModelConfig
from byoc_vision.errors import InputError, RequestError
from byoc_vision.inference.engines.base import Logits
from byoc_vision.inference.passes import InferenceOptions, Pass, make_pass
from byoc_vision.inference.predictor import Predictor, Prepared

# Seconds that a request waits for room in the queue. Room may come; and clients who try again at once
# would have us do nothing but refuse them.
QUEUE_TIMEOUT = 0.1

LOGITS_BYTES = 2**28  # of a request, that are computed ahead
_BATCHES_AHEAD = 2  # one that is computed, one that waits
_SHARE_OF_QUEUE = 4  # a request takes a quarter of it

Outcome = np.ndarray | RequestError  # an image, or why there is none


class Caller(NamedTuple):
    """Who waits for the answers.

    deadline: until when, in seconds of `time.monotonic`. wanted: whether he still does. record: where it is noted how
    long his images waited.
    """

    deadline: float
    wanted: Callable[[], bool]
    record: Record


class _Work(NamedTuple):
    """An image on its way. rgb: where the answer shows it."""

    going: Pass
    rgb: np.ndarray | None


class Pipeline:
    """The one of a model: `answer` may run in many threads.

    cores: taken while a request computes in its own thread.
    """

    def __init__(self, predictor: Predictor, batcher: Batcher[Prepared, Logits], cores: BoundedSemaphore) -> None:
        self._predictor = predictor
        self._batcher = batcher
        self._cores = cores
        self._ahead = _choose_ahead(predictor.config, batcher)

    def answer(
        self, outcomes: Iterable[Outcome], looks: InferenceOptions, encoder: Encoder, caller: Caller
    ) -> Iterator[Piece]:
        """The answers, encoded, in the order of the images; of an error the encoder's words for it.

        Raises what the batcher raises, DeadlineError, and RequestError where a wish cannot be granted.
        """
        steps = self._steps(outcomes, looks, encoder)
        flow = _Flow(self._batcher, caller)
        try:
            while self._fill(flow, steps):
                work, logits = flow.take()
                piece = self._advance(work, logits, encoder)
                if piece is not None:
                    yield piece
        finally:
            flow.cancel()

    def _steps(
        self, outcomes: Iterable[Outcome], looks: InferenceOptions, encoder: Encoder
    ) -> Iterator[tuple[_Work | RequestError, Prepared | None]]:
        """All inputs of all images, each made when it is asked for."""
        for outcome in outcomes:
            if isinstance(outcome, RequestError):
                yield outcome, None
                continue
            work = self._begin(outcome, looks, encoder)
            for prepared in work.going.inputs():
                yield work, prepared

    def _begin(self, rgb: np.ndarray, looks: InferenceOptions, encoder: Encoder) -> _Work:
        config = self._predictor.config
        if config.task == "segmentation":
            encoder.admit(len(config.classes), rgb.shape[0], rgb.shape[1])
        try:
            going = make_pass(self._predictor, rgb, looks)
        except InputError as error:
            raise RequestError(400, str(error)) from error
        return _Work(going, rgb if encoder.form is ResponseFormat.OVERLAY else None)

    def _fill(self, flow: _Flow, steps: Iterator[tuple[_Work | RequestError, Prepared | None]]) -> bool:
        """Have the model's next inputs wait for it; whether any is left to be waited for."""
        while flow.wants_more(self._ahead):
            with self._batcher.expecting(), self._cores:
                step = next(steps, None)
            if step is None:
                break
            flow.put(*step)
        return flow.waiting

    def _advance(self, work: _Work | RequestError, logits: Logits | None, encoder: Encoder) -> Piece | None:
        """The encoded answer of an image whose last logits these are."""
        with self._cores:
            if isinstance(work, RequestError):
                return encoder.encode_error(work)
            assert logits is not None
            return encoder.encode(work.going.answer(), work.rgb) if work.going.add(logits) else None


class _Flow:
    """What a request has in the queue, in order."""

    def __init__(self, batcher: Batcher[Prepared, Logits], caller: Caller) -> None:
        self._batcher = batcher
        self._caller = caller
        self._accepted = False
        self._steps: deque[tuple[_Work | RequestError, Answer[Logits] | None]] = deque()

    @property
    def waiting(self) -> bool:
        return bool(self._steps)

    def wants_more(self, ahead: int) -> bool:
        """While it has something in the queue it waits for that, rather than for room."""
        has_room = self._batcher.unanswered < self._batcher.capacity
        return not self._steps or (has_room and len(self._steps) < ahead)

    def put(self, work: _Work | RequestError, prepared: Prepared | None) -> None:
        """A request that has been accepted is not refused for want of room later."""
        if prepared is None:
            self._steps.append((work, None))
            return
        patience = self._left() if self._accepted else QUEUE_TIMEOUT
        (logits,) = self._batcher.submit([prepared], self._caller.deadline, patience, self._caller.wanted)
        self._accepted = True
        self._steps.append((work, logits))

    def take(self) -> tuple[_Work | RequestError, Logits | None]:
        """The next in order, once it is there."""
        work, logits = self._steps.popleft()
        if logits is None:
            return work, None
        try:
            return work, logits.result(self._left())
        except TimeoutError as error:
            logits.cancel()
            raise DeadlineError from error
        finally:
            self._note(logits)

    def cancel(self) -> None:
        """What is left is not computed, if it can be helped."""
        for _, logits in self._steps:
            if logits is not None:
                logits.cancel()

    def _note(self, answer: Answer[Logits]) -> None:
        """Of the image that waited longest."""
        record, seconds = self._caller.record, answer.queue_seconds
        if seconds is not None and seconds >= (record.queue_seconds or 0.0):
            record.queue_seconds, record.batch_size = seconds, answer.batch_size

    def _left(self) -> float:
        return max(0.0, self._caller.deadline - time.monotonic())


def _choose_ahead(config: ModelConfig, batcher: Batcher[Prepared, Logits]) -> int:
    """How many inputs of a request may be with the model at once."""
    values = config.model.outputs
    if config.task == "segmentation":
        values *= config.preprocess.height * config.preprocess.width
    affordable = LOGITS_BYTES // (values * np.dtype(np.float32).itemsize)
    return max(1, min(affordable, _BATCHES_AHEAD * batcher.batch_size, batcher.capacity // _SHARE_OF_QUEUE))
