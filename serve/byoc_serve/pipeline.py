"""Decode → batch → forward → postprocess → encode: the steps of a request, image by image.

Decoding, postprocessing and encoding run in the request's own thread; what the model computes goes through the batcher,
which all requests share. A request computes a few inputs ahead: enough that the model is never idle, and so few that a
request with many images or tiles fills neither the queue that other requests need nor the memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore
from typing import NamedTuple

import numpy as np

from byoc_serve.batch import QUEUE_TIMEOUT, Batcher, PendingResult
from byoc_serve.decode import Undecoded
from byoc_serve.encode import Encoder, Piece, bytes_per_pixel
from byoc_serve.request import RequestContext
from byoc_serve.response_format import ARRAYS, ResponseFormat
from byoc_vision.artifact import ModelConfig
from byoc_vision.errors import InputError, RequestError
from byoc_vision.inference.engines.base import Logits
from byoc_vision.inference.passes import Pass, make_grid, make_pass
from byoc_vision.inference.predictor import Predictor, Prepared
from byoc_vision.preprocess import as_rgb

LOGITS_BYTES = 2**28  # of a request, computed ahead
_BATCHES_AHEAD = 2  # one that is computed, one that waits
_SHARE_OF_QUEUE = 4  # a request takes a quarter of it


class _Run(NamedTuple):
    """One image's way through the model. rgb: the image, if the response shows it. claimed: bytes, for it."""

    inference: Pass
    rgb: np.ndarray | None
    claimed: int


# What comes next: bytes to claim before the image is decoded, or the input of an image, or an error in its place.
_Step = int | tuple[_Run | RequestError, Prepared | None]


class Pipeline:
    """The steps of one model; `run` may be called in many threads.

    cores: taken while a request computes in its own thread.
    """

    def __init__(self, predictor: Predictor, batcher: Batcher[Prepared, Logits], cores: BoundedSemaphore) -> None:
        self._predictor = predictor
        self._batcher = batcher
        self._cores = cores
        self._ahead = _choose_ahead(predictor.config, batcher)

    def run(
        self, images: Iterable[Undecoded | RequestError], request: RequestContext, encoder: Encoder, tolerant: bool
    ) -> Iterator[Piece]:
        """The encoded predictions in the order of the images.

        tolerant: an image that cannot be read becomes the encoder's text for it; otherwise its error is raised.
        Raises what the batcher raises, DeadlineError, and RequestError if an option does not suit the model, or memory
        does not suffice.
        """
        steps = self._steps(images, request, encoder, tolerant)
        queued = _Queued(self._batcher, request)
        try:
            while self._fill(queued, steps):
                run, logits = queued.take()
                piece = self._advance(run, logits, request, encoder)
                if piece is not None:
                    yield piece
        finally:
            queued.cancel()

    def _steps(
        self, images: Iterable[Undecoded | RequestError], request: RequestContext, encoder: Encoder, tolerant: bool
    ) -> Iterator[_Step]:
        """All inputs of all images; each image is decoded when its first input is asked for."""
        for image in images:
            try:
                if isinstance(image, RequestError):
                    raise image
                claimed = self._bytes_needed(image, request)
                yield claimed
                rgb = image.decode()
            except RequestError as error:
                if not tolerant:
                    raise
                yield error, None
                continue
            del image  # the content of its file
            run = self._start(rgb, claimed, request, encoder)
            del rgb
            for prepared in run.inference.inputs():
                yield run, prepared

    def _bytes_needed(self, image: Undecoded, request: RequestContext) -> int:
        """The most memory that an image and its prediction take, from what its header declares."""
        config, tile = self._predictor.config, request.options.tile
        pixels = image.height * image.width
        per_pixel = max(image.bytes_per_pixel, bytes_per_pixel(config, request.response_format))
        if config.task == "segmentation" and tile is not None:
            with _as_request_errors():
                return pixels * (3 + per_pixel) + make_grid(config, image.height, image.width, tile).blending_bytes
        return pixels * per_pixel

    def _start(self, rgb: np.ndarray, claimed: int, request: RequestContext, encoder: Encoder) -> _Run:
        config = self._predictor.config
        if config.task == "segmentation":
            encoder.reserve(len(config.classes), rgb.shape[0], rgb.shape[1])
        with _as_request_errors():
            inference = make_pass(self._predictor, rgb, request.options.inference_options(request.response_format))
        return _Run(inference, rgb if request.response_format is ResponseFormat.OVERLAY else None, claimed)

    def _fill(self, queued: _Queued, steps: Iterator[_Step]) -> bool:
        """Queue the next inputs; whether any are left to wait for."""
        while queued.has_room(self._ahead) and queued.may_decode():
            with self._batcher.expecting(), queued.request.holding(self._cores):
                step = next(steps, None)
            if step is None:
                break
            if isinstance(step, int):
                queued.claims = step
            else:
                queued.put(*step)
        return queued.any

    def _advance(
        self, run: _Run | RequestError, logits: Logits | None, request: RequestContext, encoder: Encoder
    ) -> Piece | None:
        """The encoded prediction of an image if these are its last logits."""
        with request.holding(self._cores):
            if isinstance(run, RequestError):
                return encoder.encode_error(run)
            assert logits is not None
            if not run.inference.add(logits):
                return None
            piece = encoder.encode(run.inference.prediction(), run.rgb if run.rgb is None else as_rgb(run.rgb))
        if request.response_format not in ARRAYS:  # they are as large as what was claimed for them
            request.claim.give_back(run.claimed)
        return piece


class _Queued:
    """A request's inputs that wait for the model or are computed, in order."""

    def __init__(self, batcher: Batcher[Prepared, Logits], request: RequestContext) -> None:
        self._batcher = batcher
        self.request = request
        self.claims: int | None = None  # bytes, for the image that is decoded next
        self._accepted = False
        self._steps: deque[tuple[_Run | RequestError, PendingResult[Logits] | None]] = deque()

    @property
    def any(self) -> bool:
        return bool(self._steps)

    def has_room(self, ahead: int) -> bool:
        """While inputs are queued the request waits for them, rather than for room for more."""
        has_room = self._batcher.in_flight < self._batcher.capacity
        return not self._steps or (has_room and len(self._steps) < ahead)

    def may_decode(self) -> bool:
        """Claim the memory of the next image. A request that has images waits for its own first, then for others'."""
        if self.claims is None:
            return True
        if not self.request.claim.try_take(self.claims):
            if self._steps:
                return False
            self.request.claim.take(self.claims, self.request.deadline)
        self.claims = None
        return True

    def put(self, run: _Run | RequestError, prepared: Prepared | None) -> None:
        """A request whose first input was accepted is not refused later because the queue is full."""
        if prepared is None:
            self._steps.append((run, None))
            return
        request = self.request
        queue_timeout = request.remaining() if self._accepted else QUEUE_TIMEOUT
        logits = self._batcher.submit(prepared, request.deadline, queue_timeout, request.is_connected)
        self._accepted = True
        self._steps.append((run, logits))

    def take(self) -> tuple[_Run | RequestError, Logits | None]:
        """The next in order, once it is computed."""
        run, logits = self._steps.popleft()
        return run, None if logits is None else self.request.result_of(logits)

    def cancel(self) -> None:
        """Inputs that still wait are not computed."""
        for _, logits in self._steps:
            if logits is not None:
                logits.cancel()


@contextmanager
def _as_request_errors() -> Iterator[None]:
    """Raises RequestError 400 in place of InputError."""
    try:
        yield
    except InputError as error:
        raise RequestError(400, str(error)) from error


def _choose_ahead(config: ModelConfig, batcher: Batcher[Prepared, Logits]) -> int:
    """How many inputs of one request may be queued or computed at once."""
    values = config.model.outputs
    if config.task == "segmentation":
        values *= config.preprocess.height * config.preprocess.width
    affordable = LOGITS_BYTES // (values * np.dtype(np.float32).itemsize)
    return max(1, min(affordable, _BATCHES_AHEAD * batcher.batch_size, batcher.capacity // _SHARE_OF_QUEUE))
