"""Responses of every app of this server: predictions, errors, and their common headers."""

from __future__ import annotations

import json
import logging
import re
import traceback
from collections.abc import Callable
from typing import IO, TYPE_CHECKING

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException
from werkzeug.wsgi import get_content_length, get_input_stream

from byoc_serve.memory_budget import LARGE
from byoc_serve.metrics import CONTENT_TYPE, WorkerMetrics
from byoc_serve.request import RequestContext
from byoc_serve.request_body import SOON_READ, drain
from byoc_serve.request_log import Observed, Record
from byoc_serve.settings import Settings
from byoc_vision.errors import RequestError

if TYPE_CHECKING:
    from byoc_serve.service import EncodedResponse

CUSTOM_ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
RETRY_AFTER = "1"  # seconds

_ATTRIBUTES = re.compile(r"[\x20-\x7e]{0,1024}")

Predict = Callable[[RequestContext], "EncodedResponse"]

logger = logging.getLogger(__name__)


def invoke(predict: Predict) -> Response:
    """The response with the predictions for the current request. Raises RequestError."""
    context = RequestContext.from_environ(request.environ, get_input_stream(request.environ))
    try:
        check_attributes(context)
        predicted = predict(context)
    except RequestError as error:
        refuse_rest(context.stream, context.content_length)
        _free(error)
        raise
    finally:
        context.claim.release()
    response = Response(predicted.body, predicted.status, predicted.headers, content_type=predicted.media_type)
    if len(predicted.body) >= LARGE:
        context.claim.keep(len(predicted.body))
        response.call_on_close(context.claim.release)
    if context.attributes is not None:
        response.headers[CUSTOM_ATTRIBUTES] = context.attributes
    return response


def refuse_rest(stream: IO[bytes], declared: int | None) -> None:
    """Read the rest of a small body, so that its connection can be used again; after others it is closed.

    declared: bytes; None if they are unknown.
    """
    close = getattr(request.environ["wsgi.input"], "close_after_response", None)  # see Worker.handle_request
    if close is None or (declared is not None and declared <= SOON_READ):
        drain(stream)
    else:
        close()


def _free(error: BaseException | None) -> None:
    """Free what the frames of an error and of its causes hold: an image, its body."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__


def check_attributes(context: RequestContext) -> None:
    """Raises RequestError 400 if the response cannot return the request's custom attributes."""
    if context.attributes is not None and not _ATTRIBUTES.fullmatch(context.attributes):
        raise RequestError(400, f"{CUSTOM_ATTRIBUTES} must be at most 1,024 visible ASCII characters")


def new_app(settings: Settings, metrics: WorkerMetrics, is_ready: Callable[[], bool]) -> Flask:
    """What all apps of this server do: give each request an id, count it, log it if the settings say so, report errors,
    and show the metrics.
    """
    app = Flask(__name__, static_folder=None)
    app.wsgi_app = Observed(app.wsgi_app, metrics, settings.log_format == "json")  # type: ignore[method-assign]

    @app.before_request
    def note_route() -> None:
        if request.url_rule is not None:
            Record.of(request.environ).route = request.url_rule.rule

    @app.get("/metrics")
    def prometheus() -> Response:
        return Response(metrics.all_workers.exposition(is_ready()), content_type=CONTENT_TYPE)

    _report_errors(app)
    return app


def _report_errors(app: Flask) -> None:
    """Make the app return errors as JSON: expected errors with their reason, internal errors with an id."""

    @app.errorhandler(RequestError)
    def refused(error: RequestError) -> Response:
        return error_response(error.status, error.message)

    @app.errorhandler(HTTPException)
    def not_served(error: HTTPException) -> Response:
        refuse_rest(get_input_stream(request.environ), get_content_length(request.environ) or 0)
        response = error_response(error.code or 500, f"{request.method} {request.path}: {error.name}")
        response.headers.extend((name, value) for name, value in error.get_headers() if name == "Allow")
        return response

    @app.errorhandler(Exception)
    def internal_error(error: Exception) -> Response:
        """The one place that reports unexpected errors."""
        record = Record.of(request.environ)
        identity = record.id
        record.error = f"{type(error).__name__}: {error}"
        logger.error("error %s in %s %s", identity, request.method, request.path, exc_info=error)
        return json_response({"error": "the server failed on this request; its log says why", "id": identity}, 500)


def error_response(status: int, message: str) -> Response:
    Record.of(request.environ).error = message
    response = json_response({"error": message}, status)
    if status == 503:
        response.headers["Retry-After"] = RETRY_AFTER
    return response


def json_response(content: object, status: int = 200) -> Response:
    return Response(json.dumps(content) + "\n", status=status, content_type="application/json")
