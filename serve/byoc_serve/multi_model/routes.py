"""The HTTP side of a multi-model endpoint: models are loaded, listed, called and unloaded."""

from __future__ import annotations

import base64
import binascii
import json
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

from flask import Flask, Response, request
from werkzeug.routing import BaseConverter
from werkzeug.wsgi import get_content_length, get_input_stream

from byoc_serve.metrics import Metrics, WorkerMetrics
from byoc_serve.multi_model.registry import Registry
from byoc_serve.request import RequestContext
from byoc_serve.request_body import read_body
from byoc_serve.response import invoke, json_response, new_app, refuse_rest
from byoc_serve.settings import Settings
from byoc_vision.errors import RequestError

if TYPE_CHECKING:
    from byoc_serve.service import EncodedResponse

PAGE = 100  # models

_MAX_BODY = 2**16  # bytes of a call that loads a model
_MAX_NAME = 1024
_FORM = '{"model_name": "…", "url": "/opt/ml/models/…/model"}'


class _Name(BaseConverter):
    """A model's name: any text, slashes included. It is never part of a path."""

    regex = "(?s:.+)"  # line ends as well
    part_isolating = False


def create_multi_model_app(settings: Settings, registry: Registry, metrics: WorkerMetrics | None = None) -> Flask:
    """The app around the models of a registry, which the caller stops.

    metrics: this worker's; by default it is the only one.
    """
    app = new_app(settings, metrics or Metrics().worker(), lambda: True)
    app.url_map.converters["name"] = _Name
    app.url_map.merge_slashes = False
    app.extensions["registry"] = registry

    @app.get("/ping")
    def ping() -> Response:
        """A server without models is ready to load them."""
        return Response(status=200)

    @app.post("/models")
    def load() -> Response:
        name, folder = _read_load(settings.models)
        registry.load(name, folder)
        return json_response(_plain(name, str(folder)))

    @app.get("/models")
    def models() -> Response:
        after, limit = _read_page()
        found, more = registry.page(after, limit)
        token = {"nextPageToken": _token(found[-1][0])} if more else {}
        return json_response({"models": [_plain(*model) for model in found], **token})

    @app.get("/models/<name:name>")
    def model(name: str) -> Response:
        return json_response(_plain(name, registry.find(name)))

    @app.delete("/models/<name:name>")
    def unload(name: str) -> Response:
        registry.unload(name)
        return json_response({"modelName": name})

    @app.post("/models/<name:name>/invoke")
    def invocations(name: str) -> Response:
        return invoke(partial(_predict, registry, name))

    @app.post("/invocations")
    def no_single_model() -> Response:
        raise RequestError(404, "this is a multi-model server: POST /models/NAME/invoke")

    return app


def _predict(registry: Registry, name: str, request: RequestContext) -> EncodedResponse:
    """`name` is a hash to SageMaker's users; the file that they know comes in a header."""
    title = f"{request.target_model} ({name})" if request.target_model else name
    with registry.acquire(name, title) as model:
        return model.predict(request)


def _read_load(models: Path) -> tuple[str, Path]:
    """The name and the folder of the model to load. Raises RequestError."""
    stream = get_input_stream(request.environ)
    try:
        document = json.loads(read_body(stream, get_content_length(request.environ), _MAX_BODY))
    except (ValueError, RecursionError) as error:
        raise RequestError(400, f"the body is not JSON: {error}; send {_FORM}") from error
    except RequestError:
        refuse_rest(stream, get_content_length(request.environ))
        raise
    given = document if isinstance(document, dict) else {}
    name, url = given.get("model_name"), given.get("url")
    if not _is_name(name) or not isinstance(url, str):
        raise RequestError(
            400, f"the body has no `model_name` of 1 to {_MAX_NAME:,} characters and `url`; send {_FORM}"
        )
    return name, folder_of(url, models)


def _is_name(value: object) -> TypeGuard[str]:
    if not isinstance(value, str) or not 1 <= len(value) <= _MAX_NAME:
        return False
    return not any("\ud800" <= character <= "\udfff" for character in value)  # halves of characters, which JSON allows


def folder_of(url: str, models: Path) -> Path:
    """The folder that a `url` names.

    Raises RequestError: 400 if it is not below `models`, 404 if it is missing.
    """
    folder = Path(os.path.normpath(url))
    if "\0" in url or not folder.is_relative_to(models) or folder == models:
        raise RequestError(400, f"`url` is {url!r}; it must be the path of a folder below {models}")
    if not folder.is_dir():
        raise RequestError(404, f"the folder {folder} does not exist")
    return folder


def _read_page() -> tuple[str | None, int]:
    """The name after which the page begins, and the most models on it. Raises RequestError."""
    token, limit = request.args.get("next_page_token"), request.args.get("limit")
    try:
        after = base64.urlsafe_b64decode(token.encode("ascii")).decode("utf-8") if token else None
        return after, min(max(int(limit), 1), PAGE) if limit else PAGE
    except (ValueError, binascii.Error) as error:
        raise RequestError(400, f"`next_page_token` or `limit` cannot be read: {error}") from error


def _token(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode("utf-8")).decode("ascii")


def _plain(name: str, url: str) -> dict[str, str]:
    return {"modelName": name, "modelUrl": url}
