"""A model in service: from a request to the body of its response."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np

from byoc_serve.batch import Batcher, FatalError, Observer
from byoc_serve.decode import JSON, JSON_LINES, Limits, Payload, Undecoded, choose_decoder
from byoc_serve.encode import MAX_OVERLAY_PIXELS, Encoder, check_count
from byoc_serve.errors import raise_fatal_errors
from byoc_serve.pipeline import Pipeline
from byoc_serve.request import RequestContext, media_type_of
from byoc_serve.request_options import check_options, read_options
from byoc_serve.response_format import TEXTS, ResponseFormat, choose_format
from byoc_serve.service import EncodedResponse, Service
from byoc_serve.settings import Settings
from byoc_vision.artifact import ModelConfig
from byoc_vision.errors import RequestError
from byoc_vision.inference.engines.base import Logits
from byoc_vision.inference.predictor import Predictor, Prepared
from byoc_vision.preprocess import Band

# Of a large body: as it is read, and of JSON its text, the base64 in it, and the image.
_COPIES, _JSON_COPIES = 2, 5


class ModelService(Service):
    """A predictor, and the queue before it. The thread of `run` and those that it starts alone touch the model."""

    def __init__(self, predictor: Predictor, settings: Settings, observer: Observer | None = None) -> None:
        batcher: Batcher[Prepared, Logits] = Batcher(
            settings.batch_size, settings.queue_length, settings.batch_wait_ms / 1000, _shape, observer
        )
        super().__init__(batcher, settings)
        self._predictor = predictor
        self._limits = Limits(settings.queue_length, settings.max_lines)
        self._pipeline = Pipeline(predictor, batcher, self._cores)

    def __str__(self) -> str:
        config, engine = self._predictor.config, self._predictor.engine
        architecture = "/".join(filter(None, (config.model.architecture, config.model.encoder)))
        return f"{architecture}, {config.task}, {len(config.classes)} classes, {engine.name} on {engine.device}"

    @property
    def config(self) -> ModelConfig:
        return self._predictor.config

    def warm_up(self) -> None:
        self._predictor.warm_up(self._settings.batch_size)

    def _run_queue(self) -> None:
        """A model that computes images apart gets each as soon as it can take it: no image waits for a batch's last."""
        streams = self._predictor.engine.streams
        if streams == 1:
            super()._run_queue()
            return
        with ThreadPoolExecutor(streams, thread_name_prefix="stream") as threads:
            for ended in [threads.submit(self._batcher.run, self._compute, most=1) for _ in range(streams)]:
                ended.result()

    def _respond(self, request: RequestContext) -> EncodedResponse:
        self._read_headers(request)
        decode = choose_decoder(request.content_type, self._limits)
        is_json = media_type_of(request.content_type) in JSON_LINES | {JSON}
        payload = decode(self._receive(request, _JSON_COPIES if is_json else _COPIES))
        check_count(request.response_format, payload.count)
        encoder = Encoder(request.response_format, palette=bool(request.options.palette))
        with self._stop_on_fatal_errors():
            pieces = self._pipeline.run(
                self._undecoded(payload, request), request, encoder, self._is_tolerant(payload, request)
            )
            return EncodedResponse(encoder.join(pieces, payload.several), request.response_format.media_type)

    def _read_headers(self, request: RequestContext) -> None:
        request.options = read_options(request.query, request.attributes or "")
        check_options(request.options, self.config)
        default = ResponseFormat.JSON_LINES if media_type_of(request.content_type) in JSON_LINES else None
        request.response_format = choose_format(request.accept, self.config.task, request.options.view, default)

    @contextmanager
    def _stop_on_fatal_errors(self) -> Iterator[None]:
        """A GPU works asynchronously: an error of a batch may be raised when its results are fetched."""
        try:
            with raise_fatal_errors():
                yield
        except FatalError as error:
            self._batcher.fail(error)
            raise

    def _undecoded(self, payload: Payload, request: RequestContext) -> Iterator[Undecoded | RequestError]:
        bands = self._predictor.config.preprocess.bands
        if request.response_format is ResponseFormat.OVERLAY:
            return _for_overlays(payload, self._settings.max_pixels, bands)
        return payload.undecoded(self._settings.max_pixels, bands)

    def _is_tolerant(self, payload: Payload, request: RequestContext) -> bool:
        """Whether an image that cannot be read becomes an error in its place: one of several, in text."""
        wanted = (request.options.errors or self._settings.record_errors) == "line"
        return wanted and payload.several and request.response_format in TEXTS

    def _compute(self, batch: list[Prepared]) -> Sequence[Logits]:
        with raise_fatal_errors():
            images = batch[0].pixels[None] if len(batch) == 1 else np.stack([item.pixels for item in batch])
            return list(self._predictor.forward(images))


def _for_overlays(payload: Payload, max_pixels: int, bands: Sequence[Band]) -> Iterator[Undecoded | RequestError]:
    """The images, none larger than an overlay may be."""
    for image in payload.undecoded(min(max_pixels, MAX_OVERLAY_PIXELS), bands):
        if isinstance(image, RequestError) and image.status == 413 and max_pixels > MAX_OVERLAY_PIXELS:
            yield RequestError(413, f"{image.message}, or ask for the mask (Accept: image/png) instead of an overlay")
        else:
            yield image


def _shape(prepared: Prepared) -> tuple[int, ...]:
    """Only images of one shape make a batch."""
    return tuple(prepared.pixels.shape)
