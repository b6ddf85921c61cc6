"""The HTTP side of SageMaker's hosting contract.

Source: "Use Your Own Inference Code with Hosting Services" in the SageMaker developer guide.
"""

from __future__ import annotations

import json
import logging
import re

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException
from werkzeug.wsgi import get_input_stream

from byoc_serve.body import drain
from byoc_serve.loader import Loader
from byoc_serve.metrics import CONTENT_TYPE, Metrics, WorkerMetrics
from byoc_serve.request_log import Observed, Record
from byoc_serve.settings import Settings
from byoc_vision.errors import RequestError

CUSTOM_ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
RETRY_AFTER = "1"  # seconds

_ATTRIBUTES = re.compile(r"[\x20-\x7e]{0,1024}")

log = logging.getLogger(__name__)


def create_app(settings: Settings, loader: Loader, metrics: WorkerMetrics | None = None) -> Flask:
    """The app around a model that `loader` brings; whoever calls this starts and stops the loader.

    metrics: this worker's; by default it is the only one.
    """
    metrics = metrics or Metrics().worker()
    app = Flask(__name__, static_folder=None)
    app.extensions["loader"] = loader
    app.wsgi_app = Observed(app.wsgi_app, metrics, settings.log_format == "json")  # type: ignore[method-assign]

    @app.get("/ping")
    def ping() -> Response:
        """Only flags are read: this must be quick however busy the model is."""
        if loader.failure is not None:
            return _error(500, f"the model cannot be served: {loader.failure}")
        return Response(status=200 if loader.ready else 503)

    @app.get("/execution-parameters")
    def execution_parameters() -> Response:
        return _json(settings.execution_parameters())

    @app.post("/invocations")
    def invocations() -> Response:
        stream = get_input_stream(request.environ)
        try:
            attributes = _custom_attributes(request.environ.get("HTTP_X_AMZN_SAGEMAKER_CUSTOM_ATTRIBUTES"))
            body, media_type = loader.model.invoke(request.environ, stream)
        except RequestError:
            drain(stream)
            raise
        response = Response(body, content_type=media_type)
        if attributes is not None:
            response.headers[CUSTOM_ATTRIBUTES] = attributes
        return response

    @app.get("/metrics")
    def figures() -> Response:
        return Response(metrics.everyone.exposition(loader.ready), content_type=CONTENT_TYPE)

    @app.get("/openapi.json")
    def openapi() -> Response:
        from byoc_serve.openapi import describe  # not when the server starts: it imports what decodes pictures

        return _json(describe(settings, loader.task))

    @app.errorhandler(RequestError)
    def refused(error: RequestError) -> Response:
        return _error(error.status, error.message)

    @app.errorhandler(HTTPException)
    def not_served(error: HTTPException) -> Response:
        drain(get_input_stream(request.environ))
        response = _error(error.code or 500, f"{request.method} {request.path}: {error.name}")
        response.headers.extend((name, value) for name, value in error.get_headers() if name == "Allow")
        return response

    @app.errorhandler(Exception)
    def our_bug(error: Exception) -> Response:
        """The one place that reports what nobody foresaw."""
        identity = Record.of(request.environ).id
        Record.of(request.environ).error = f"{type(error).__name__}: {error}"
        log.error("error %s in %s %s", identity, request.method, request.path, exc_info=error)
        return _json({"error": "the server failed on this request; its log says why", "id": identity}, 500)

    return app


def _custom_attributes(text: str | None) -> str | None:
    if text is not None and not _ATTRIBUTES.fullmatch(text):
        raise RequestError(400, f"{CUSTOM_ATTRIBUTES} must be at most 1,024 visible ASCII characters")
    return text


def _error(status: int, message: str) -> Response:
    Record.of(request.environ).error = message
    response = _json({"error": message}, status)
    if status == 503:
        response.headers["Retry-After"] = RETRY_AFTER
    return response


def _json(content: object, status: int = 200) -> Response:
    return Response(json.dumps(content) + "\n", status=status, content_type="application/json")
