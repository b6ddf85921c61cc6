"""The handler in each worker process of multi-model-server: one model, one request at a time.

Source: docs/custom_service.md of awslabs/multi-model-server.
"""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import urllib.parse
from functools import partial
from typing import Any, Protocol

from byoc_serve.loader import load_one_of_many
from byoc_serve.multi_model.loaded_model import LoadedModel
from byoc_serve.multi_model.routes import folder_of
from byoc_serve.request import RequestContext
from byoc_serve.response import CUSTOM_ATTRIBUTES, check_attributes
from byoc_serve.settings import Settings
from byoc_vision.errors import RequestError
from byoc_vision.logs import set_up_logging

# Seconds after which the server is asked to forget a model; it refuses before it has responded to its own client.
_ATTEMPTS = (0.2, 0.5, 1.0, 2.0, 4.0)
_FORGET = """
import sys, time, urllib.request
for pause in map(float, sys.argv[2:]):
    time.sleep(pause)
    try:
        urllib.request.urlopen(urllib.request.Request(sys.argv[1], method="DELETE"), timeout=10).close()
        break
    except OSError:
        continue
"""

logger = logging.getLogger(__name__)


class Context(Protocol):
    """mms.context.Context, as far as it is used here."""

    model_name: str
    system_properties: dict[str, Any]
    request_processor: list[Any]

    def set_response_status(self, code: int, phrase: str, idx: int = 0) -> None: ...

    def set_response_content_type(self, idx: int, value: str) -> None: ...

    def set_response_header(self, idx: int, key: str, value: str) -> None: ...


class Service:
    """Called once with no data, to load the model, and then for each request.

    The server takes a function; with a class it would not notice that loading failed.
    """

    def __init__(self) -> None:
        self._model: LoadedModel | None = None

    def __call__(self, data: list[dict[str, bytes]] | None, context: Context) -> list[bytes] | None:
        if data is None:
            self._model = self._load(context)
            return None
        assert self._model is not None
        return [self._respond(self._model, data[0], context)]

    def _load(self, context: Context) -> LoadedModel:
        """Raises MemoryError, which alone becomes a 507; anything else ends the process and becomes a 500."""
        settings = Settings.from_environment(os.environ)
        set_up_logging(settings.logging_level)
        gpu = context.system_properties.get("gpu_id")
        device = None if gpu is None else f"cuda:{gpu}"
        folder = folder_of(str(context.system_properties["model_dir"]), settings.models)
        try:
            return LoadedModel(partial(load_one_of_many, folder, settings, device))
        except RequestError as error:
            logger.error("%s cannot be loaded: %s", context.model_name, error)
            if error.status != 507:
                raise
        _forget(settings.port, context.model_name)
        raise MemoryError

    def _respond(self, model: LoadedModel, data: dict[str, bytes], context: Context) -> bytes:
        headers = {name.lower(): value for name, value in context.request_processor[0].get_request_properties().items()}
        try:
            request = _request(data, headers)
            check_attributes(request)
            try:
                body, media_type, *_ = model.predict(request)
            finally:
                request.claim.release()
        except RequestError as error:
            context.set_response_status(error.status, "")
            body, media_type = json.dumps({"error": error.message}).encode() + b"\n", "application/json"
        else:
            if request.attributes is not None:
                context.set_response_header(0, CUSTOM_ATTRIBUTES, request.attributes)
        context.set_response_content_type(0, media_type)
        return body


def _request(data: dict[str, bytes], headers: dict[str, str]) -> RequestContext:
    """Raises RequestError 415."""
    if "body" not in data:
        raise RequestError(
            415, "multi-model-server splits forms, and their images do not arrive whole; send an image, or JSON"
        )
    return RequestContext(
        io.BytesIO(data["body"]),
        len(data["body"]),
        headers.get("content-type"),
        headers.get("content-encoding"),
        headers.get("accept"),
        attributes=headers.get(CUSTOM_ATTRIBUTES.lower()),
    )


def _forget(port: int, name: str) -> None:
    """Make the server forget a model that did not fit into memory.

    Otherwise it keeps the name, and responds with 409 when SageMaker has made room and loads it again. The request
    comes from a process of its own, because this one is killed as soon as it has reported that the model does not fit.
    """
    url = f"http://127.0.0.1:{port}/models/{urllib.parse.quote(name, safe='')}"
    subprocess.Popen([sys.executable, "-I", "-c", _FORGET, url, *map(str, _ATTEMPTS)], start_new_session=True)


handle = Service()
