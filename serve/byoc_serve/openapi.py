"""The description of the API at GET /openapi.json, generated from the tables that the code itself uses.

Source: OpenAPI Specification 3.1.0. Its schemas are those of JSON Schema 2020-12.
"""

from __future__ import annotations

from typing import Any

from byoc_serve import metrics
from byoc_serve.decode import IMAGE_TYPES, JSON_LINES
from byoc_serve.request_log import REQUEST_ID
from byoc_serve.request_options import options_for
from byoc_serve.response_format import RESPONSE_FORMATS, ResponseFormat
from byoc_serve.settings import Settings
from byoc_vision import __version__
from byoc_vision.artifact import ModelConfig
from byoc_vision.types import Task

Json = dict[str, Any]

# Errors of any request, by their status.
ERRORS = {
    400: "An empty or damaged body; JSON, a form or an array that cannot be read; an invalid option.",
    406: "`Accept` names no format that this model offers.",
    408: "The body stopped arriving.",
    413: "The body is over {max_body:,} bytes, an image over {max_pixels:,} pixels, or there are more than "
    "{queue_length} images.",
    415: "The `Content-Type` or the `Content-Encoding` is not supported.",
    500: "An internal error, or a model that cannot be served.",
    503: "The model is being loaded, {queue_length} images are waiting already, or the server is stopping.",
    504: "The model had no time for this within {request_timeout} s.",
    507: "Memory does not suffice for the image.",
}


def describe(settings: Settings, config: ModelConfig | None, has_script: bool = False) -> Json:
    """The OpenAPI document of a server with these settings.

    config: the model's; None while it is being loaded. has_script: only the user's script knows what bodies hold.
    """
    tasks = [config.model.task] if config else list(RESPONSE_FORMATS)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "byoc-vision",
            "version": __version__,
            "description": "Predictions of a script."
            if has_script
            else f"Predictions of a {' or '.join(tasks)} model for images.",
        },
        "paths": {
            "/ping": {"get": _ping()},
            "/invocations": {"post": _script(settings) if has_script else _invocations(settings, tasks, config)},
            "/execution-parameters": {"get": _get("Parameters for a batch transform.", _json(_EXECUTION_PARAMETERS))},
            "/metrics": {"get": _get("Metrics for Prometheus.", {metrics.CONTENT_TYPE: {"schema": _TEXT}})},
            "/openapi.json": {"get": _get("This description.", _json({"type": "object", "required": ["openapi"]}))},
        },
        "components": {"schemas": _SCHEMAS | _request_schemas(settings), "headers": _HEADERS},
    }


def _ping() -> Json:
    return {
        "summary": "Whether the model is ready.",
        "responses": {
            "200": _response("The model is ready."),
            "500": _response("The model cannot be served.", _json(_ref("Error"))),
            "503": _response("The model is being loaded."),
        },
    }


def _get(summary: str, content: Json) -> Json:
    return {"summary": summary, "responses": {"200": _response(summary, content)}}


def _script(settings: Settings) -> Json:
    return {
        "summary": "Predictions of the script.",
        "parameters": _PARAMETERS,
        "requestBody": {"required": True, "content": {"*/*": {}}},
        "responses": {"200": _response("What the script returns.", {"*/*": {}})} | _errors(settings),
    }


def _errors(settings: Settings) -> Json:
    limits = settings.model_dump() | {"max_body": settings.max_body, "max_pixels": settings.max_pixels}
    errors = {str(status): _response(text.format_map(limits), _json(_ref("Error"))) for status, text in ERRORS.items()}
    errors["503"]["headers"] |= {"Retry-After": {"schema": {"type": "string"}}}
    return errors


def _invocations(settings: Settings, tasks: list[Task], config: ModelConfig | None) -> Json:
    success = _response("The prediction for an image, or a list for several images.", _predictions(tasks))
    success["headers"] |= {"X-Amzn-SageMaker-Custom-Attributes": {"schema": {"type": "string"}}}
    return {
        "summary": "Predictions for one or several images.",
        "parameters": [*_options(config), *_PARAMETERS],
        "requestBody": {"required": True, "content": _images()},
        "responses": {"200": success} | _errors(settings),
    }


def _options(config: ModelConfig | None) -> list[Json]:
    return [
        {"name": name, "in": "query", "description": option.meaning, "schema": option.schema}
        for name, option in options_for(config).items()
    ]


def _images() -> Json:
    """The request bodies, by Content-Type. A binary body has no schema in OpenAPI 3.1."""
    return {name: {} for name in sorted(IMAGE_TYPES)} | {
        "application/octet-stream": {},
        "application/x-npy": {},
        "application/json": {"schema": _ref("Pictures")},
        **{name: {"schema": _TEXT} for name in sorted(JSON_LINES)},
        "multipart/form-data": {
            "schema": _having("image", {"type": "string", "format": "binary"}),
            "encoding": {"image": {"contentType": ", ".join(sorted(IMAGE_TYPES))}},
        },
    }


def _predictions(tasks: list[Task]) -> Json:
    """The response bodies, by media type: each format of each task, and for several images a list of them."""
    schemas: dict[str, list[Json]] = {}
    for task in tasks:
        for offer in RESPONSE_FORMATS[task]:
            schemas.setdefault(offer.media_type, []).extend(_SCHEMAS_OF_FORMATS.get((task, offer), []))
    return {
        media_type: {"schema": {"anyOf": choices}} if choices else {"schema": _TEXT if "lines" in media_type else {}}
        for media_type, choices in schemas.items()
    }


def _response(description: str, content: Json | None = None) -> Json:
    headers = {REQUEST_ID: {"$ref": "#/components/headers/RequestId"}}
    return {"description": description, "headers": headers} | ({"content": content} if content is not None else {})


def _json(schema: Json) -> Json:
    return {ResponseFormat.JSON.media_type: {"schema": schema}}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _list_of(schema: Json) -> Json:
    return {"type": "array", "items": schema, "minItems": 1}


def _object(properties: Json, optional: tuple[str, ...] = ()) -> Json:
    """An object with these properties and no others."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _having(name: str, schema: Json) -> Json:
    """An object with this property; others are ignored."""
    return {"type": "object", "properties": {name: schema}, "required": [name]}


def _request_schemas(settings: Settings) -> Json:
    inner = {"anyOf": [_ref("Base64"), _having("b64", _ref("Base64"))]}
    image = {"anyOf": [_ref("Base64"), _having("b64", _ref("Base64")), _having("image", inner)]}
    instances = _list_of(_ref("Picture")) | {"maxItems": settings.queue_length}
    return {
        "Base64": {
            "type": "string",
            "format": "byte",
            "contentEncoding": "base64",
            "contentMediaType": "image/*",
            "description": "An image file, or a data: URL of one.",
        },
        "Picture": image,
        "Pixels": {
            **_list_of(_list_of({"anyOf": [_VALUE, _list_of(_VALUE), _list_of(_list_of(_VALUE))]})),
            "description": "Lists of numbers, 0 to 255 or 0.0 to 1.0: [H, W], [H, W, 3], or several images in a list. "
            "All rows are equally long.",
        },
        "Pictures": {
            "anyOf": [
                _ref("Picture"),
                _having("instances", instances),
                _ref("Pixels"),
                *(_object({key: _ref("Pixels")}) for key in ("image", "instances", "inputs")),
            ]
        },
    }


_TEXT = {"type": "string"}
_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_VALUE = {"type": "number", "minimum": 0, "maximum": 255}
_BYTE = {"type": "integer", "minimum": 0, "maximum": 255}
_COUNT = {"type": "integer", "minimum": 1}
_SIZE = {"type": "array", "items": _COUNT, "minItems": 2, "maxItems": 2}

_MASK_CLASS = _object({"label": _TEXT, "value": _BYTE | {"type": ["integer", "null"]}, "share": _SHARE, "rle": _TEXT})
_RANKED_CLASS = _object({"label": _TEXT, "score": _SHARE, "present": {"type": "boolean"}}, optional=("present",))

_SCHEMAS = {
    "Error": _object({"error": _TEXT, "id": _TEXT}, optional=("id",)),
    "Mask": _object({"size": _SIZE, "classes": _list_of(_MASK_CLASS)}),
    "Classes": _list_of(_RANKED_CLASS),
    "Probabilities": _list_of(_SHARE),
}
# Of the formats that are JSON; several may have the same media type.
_SCHEMAS_OF_FORMATS = {
    ("segmentation", ResponseFormat.JSON): [_ref("Mask"), _list_of(_ref("Mask"))],
    ("classification", ResponseFormat.JSON): [_ref("Classes"), _list_of(_ref("Classes"))],
    ("classification", ResponseFormat.VECTOR): [_ref("Probabilities"), _list_of(_ref("Probabilities"))],
}
_EXECUTION_PARAMETERS = _object(
    {
        "MaxConcurrentTransforms": _COUNT,
        "BatchStrategy": {"enum": ["SINGLE_RECORD", "MULTI_RECORD"]},
        "MaxPayloadInMB": _COUNT,
    }
)
_HEADERS = {
    "RequestId": {
        "schema": _TEXT,
        "required": True,
        "description": "The request's id: the client's, or a new one; the log has it too.",
    }
}
_PARAMETERS = [
    {
        "name": "X-Amzn-SageMaker-Custom-Attributes",
        "in": "header",
        "description": "Returned unchanged; it may contain options, such as `threshold=0.3;palette=true`.",
        "schema": {"type": "string", "pattern": "^[\\x20-\\x7e]*$", "maxLength": 1024},
    },
    {"name": "X-Amzn-SageMaker-Inference-Id", "in": "header", "description": "The request's id.", "schema": _TEXT},
    {"name": "X-Request-Id", "in": "header", "description": "The same, if the other is absent.", "schema": _TEXT},
]
