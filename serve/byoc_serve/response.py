"""What every app of this server has in common: how it answers for a model, and how it tells errors."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException
from werkzeug.wsgi import get_input_stream

from byoc_serve.request_body import drain
from byoc_serve.request_log import Meter, Observed, Record
from byoc_serve.settings import Settings
from byoc_vision.errors import RequestError

if TYPE_CHECKING:
    from byoc_serve.model_service import EncodedResponse

CUSTOM_ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
RETRY_AFTER = "1"  # seconds

_ATTRIBUTES = re.compile(r"[\x20-\x7e]{0,1024}")

Ask = Callable[[dict[str, Any], IO[bytes]], "EncodedResponse"]

logger = logging.getLogger(__name__)


def invoke(ask: Ask) -> Response:
    """The answer to the request at hand. `ask` gets its environment and its body; RequestError passes through."""
    stream = get_input_stream(request.environ)
    try:
        attributes = custom_attributes(request.environ.get("HTTP_X_AMZN_SAGEMAKER_CUSTOM_ATTRIBUTES"))
        body, media_type = ask(request.environ, stream)
    except RequestError:
        drain(stream)
        raise
    response = Response(body, content_type=media_type)
    if attributes is not None:
        response.headers[CUSTOM_ATTRIBUTES] = attributes
    return response


def custom_attributes(text: str | None) -> str | None:
    """The header's text, which the answer is to have, too. Raises RequestError."""
    if text is not None and not _ATTRIBUTES.fullmatch(text):
        raise RequestError(400, f"{CUSTOM_ATTRIBUTES} must be at most 1,024 visible ASCII characters")
    return text


def observe(app: Flask, meter: Meter, settings: Settings) -> None:
    """Give each request an id, count it, and write it to the log where the settings ask for that."""
    app.wsgi_app = Observed(app.wsgi_app, meter, settings.log_format == "json")  # type: ignore[method-assign]

    @app.before_request
    def note_route() -> None:
        if request.url_rule is not None:
            Record.of(request.environ).route = request.url_rule.rule


def report_errors(app: Flask) -> None:
    """Have the app tell errors as JSON: those that are meant to be read with their reason, others with an id."""

    @app.errorhandler(RequestError)
    def refused(error: RequestError) -> Response:
        return error_response(error.status, error.message)

    @app.errorhandler(HTTPException)
    def not_served(error: HTTPException) -> Response:
        drain(get_input_stream(request.environ))
        response = error_response(error.code or 500, f"{request.method} {request.path}: {error.name}")
        response.headers.extend((name, value) for name, value in error.get_headers() if name == "Allow")
        return response

    @app.errorhandler(Exception)
    def our_bug(error: Exception) -> Response:
        """The one place that reports what nobody foresaw."""
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
