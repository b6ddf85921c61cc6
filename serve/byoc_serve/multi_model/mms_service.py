"""What multi-model-server asks in each of its worker processes: one model, one request at a time.

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

from byoc_serve.multi_model.loaded_model import LoadedModel
from byoc_serve.multi_model.loading import load
from byoc_serve.multi_model.routes import folder_of
from byoc_serve.response import CUSTOM_ATTRIBUTES, custom_attributes
from byoc_serve.settings import Settings
from byoc_vision.errors import RequestError
from byoc_vision.logs import set_up_logging

# Seconds after which the server is asked to forget a model; before it has answered its caller it does not.
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

    A function is what the server takes; from a class it would not hear that loading failed.
    """

    def __init__(self) -> None:
        self._model: LoadedModel | None = None

    def __call__(self, data: list[dict[str, bytes]] | None, context: Context) -> list[bytes] | None:
        if data is None:
            self._model = self._load(context)
            return None
        assert self._model is not None
        return [self._answer(self._model, data[0], context)]

    def _load(self, context: Context) -> LoadedModel:
        """Raises MemoryError, which alone becomes a 507; anything else ends the process and becomes a 500."""
        settings = Settings.from_environment(os.environ)
        set_up_logging(settings.logging_level)
        gpu = context.system_properties.get("gpu_id")
        device = None if gpu is None else f"cuda:{gpu}"
        folder = folder_of(str(context.system_properties["model_dir"]), settings.models)
        try:
            return LoadedModel(partial(load, folder, settings, device))
        except RequestError as error:
            logger.error("%s cannot be loaded: %s", context.model_name, error)
            if error.status != 507:
                raise
        _forget(settings.port, context.model_name)
        raise MemoryError

    def _answer(self, model: LoadedModel, data: dict[str, bytes], context: Context) -> bytes:
        headers = {name.lower(): value for name, value in context.request_processor[0].get_request_properties().items()}
        try:
            attributes = custom_attributes(headers.get(CUSTOM_ATTRIBUTES.lower()))
            body, media_type = _ask(model, data, headers)
        except RequestError as error:
            context.set_response_status(error.status, "")
            body, media_type = json.dumps({"error": error.message}).encode() + b"\n", "application/json"
        else:
            if attributes is not None:
                context.set_response_header(0, CUSTOM_ATTRIBUTES, attributes)
        context.set_response_content_type(0, media_type)
        return body


def _ask(model: LoadedModel, data: dict[str, bytes], headers: dict[str, str]) -> tuple[bytes, str]:
    if "body" not in data:
        raise RequestError(
            415, "multi-model-server takes forms apart, and their images do not arrive whole; send an image, or JSON"
        )
    body = data["body"]
    environ = {
        "CONTENT_TYPE": headers.get("content-type"),
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_ACCEPT": headers.get("accept"),
    }
    return model.invoke(environ, io.BytesIO(body))


def _forget(port: int, name: str) -> None:
    """Have the server forget a model that did not fit.

    It would keep the name, and answer 409 when SageMaker has made room and asks again. Asked by a process of its own,
    since this one is killed as soon as it has said that the model does not fit.
    """
    url = f"http://127.0.0.1:{port}/models/{urllib.parse.quote(name, safe='')}"
    subprocess.Popen([sys.executable, "-I", "-c", _FORGET, url, *map(str, _ATTEMPTS)], start_new_session=True)


handle = Service()
