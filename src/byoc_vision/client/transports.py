"""How a request reaches a model: over HTTP to a URL, or through SageMaker to an endpoint; and when it is repeated."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypedDict, TypeGuard

from byoc_vision.client.images import CONTENT_TYPE
from byoc_vision.client.responses import PredictionError, error_of
from byoc_vision.errors import InputError

TIMEOUT = 70.0  # seconds
ATTEMPTS = 4
_FIRST_PAUSE = 0.5  # seconds; each further pause is twice as long
_LONGEST_PAUSE = 20.0
_TEMPORARY = ("ModelNotReadyException", "ServiceUnavailable", "ThrottlingException", "InternalDependencyException")


@dataclass(frozen=True)
class Request:
    """body: an image file. accept: the response's media type. options: as docs/http.md lists them, as text."""

    body: bytes
    accept: str
    options: dict[str, str] = field(default_factory=dict)


Transport = Callable[[Request], bytes]  # sends a request; returns the response's body, or raises PredictionError


class ConnectionOptions(TypedDict, total=False):
    """Which model to ask, besides its URL or endpoint, and how long to wait.

    target_model: the archive behind a multi-model endpoint, as `cars.tar.gz`. target_variant, inference_component: of
    an endpoint that has several. region: of AWS. session: boto3's, or the SDK's. client: boto3's `sagemaker-runtime`
    client; reuse one for many images. timeout: seconds for an attempt (70; SageMaker itself gives up after 60).
    limit_mb: the largest request (25 for an endpoint, none for a URL; a serverless endpoint takes 4).
    """

    target_model: str
    target_variant: str
    inference_component: str
    region: str
    session: Any
    client: Any
    timeout: float
    limit_mb: float


def send_with_retries(send: Transport, request: Request) -> bytes:
    """The response, after at most four attempts with the pauses that the server asks for, else growing ones.

    Raises PredictionError: the last attempt's, or the first that is not temporary.
    """
    for attempt in range(1, ATTEMPTS):
        try:
            return send(request)
        except PredictionError as error:
            if not error.temporary:
                raise
            pause = _FIRST_PAUSE * 2 ** (attempt - 1) if error.retry_after is None else error.retry_after
            time.sleep(min(pause, _LONGEST_PAUSE))
    return send(request)


# HTTP


def http_transport(url: str, timeout: float) -> Transport:
    """Sends to the server at `url`; without a path to its /invocations. This machine is asked without a proxy."""
    proxies = [urllib.request.ProxyHandler({})] if _is_this_machine(url) else []
    opener = urllib.request.build_opener(*proxies)

    def send(request: Request) -> bytes:
        headers = {"Content-Type": CONTENT_TYPE, "Accept": request.accept}
        sent = urllib.request.Request(_address(url, request.options), request.body, headers, method="POST")
        try:
            with opener.open(sent, timeout=timeout) as response:
                return bytes(response.read())
        except urllib.error.HTTPError as error:
            with error:
                raise error_of(error.code, error.read(), _lower(error.headers)) from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError | socket.timeout):
                message = f"{url} did not respond within {timeout:g} s; allow more with timeout=…"
                raise PredictionError(message) from error
            raise PredictionError(f"{url} cannot be reached: {reason}; is the server running?") from error

    return send


def _is_this_machine(url: str) -> bool:
    host = urllib.parse.urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _address(url: str, options: dict[str, str]) -> str:
    parts = urllib.parse.urlsplit(url)
    path = parts.path if parts.path.strip("/") else "/invocations"
    query = "&".join(text for text in (parts.query, urllib.parse.urlencode(options)) if text)
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc, path, query, ""))


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


# SageMaker


def endpoint_transport(name: str, connection: ConnectionOptions) -> Transport:
    """Sends to the endpoint of this name. Raises InputError: no boto3, region or credentials."""
    return _sagemaker_transport(_runtime_client(connection).invoke_endpoint, {"EndpointName": name}, connection)


def deployed_transport(deployed: Any, connection: ConnectionOptions) -> Transport:
    """Sends to an SDK's own object: v2's predictor, v3's endpoint, each with its own session.

    Its serializers are bypassed: an image is sent unchanged, and the response is read here.
    """
    target = {"EndpointName": deployed.endpoint_name}
    if component := getattr(deployed, "component_name", None):
        target["InferenceComponentName"] = component
    return _sagemaker_transport(_invoke_of(deployed, connection), target, connection)


def _invoke_of(deployed: Any, connection: ConnectionOptions) -> Callable[..., Any]:
    if not connection.keys() & {"client", "session", "region"}:
        for session in (getattr(deployed, "sagemaker_session", None), getattr(deployed, "_local_session", None)):
            if _is_sdk_session(session):
                return session.sagemaker_runtime_client.invoke_endpoint  # type: ignore[no-any-return]
        if hasattr(deployed, "model_copy"):
            return _invoke_v3(deployed)
    return _runtime_client(connection).invoke_endpoint  # type: ignore[no-any-return]


def _invoke_v3(endpoint: Any) -> Callable[..., Any]:
    """v3's endpoint, called like boto3's client; a copy, so that its serializers do not change the image."""
    plain = endpoint.model_copy(update={"serializer": None, "deserializer": None})
    names = {
        "Body": "body",
        "ContentType": "content_type",
        "Accept": "accept",
        "CustomAttributes": "custom_attributes",
        "TargetModel": "target_model",
        "TargetVariant": "target_variant",
        "InferenceComponentName": "inference_component_name",
    }

    def invoke(**arguments: Any) -> dict[str, Any]:
        return {"Body": plain.invoke(**{names[key]: arguments[key] for key in arguments.keys() & names}).body}

    return invoke


def _sagemaker_transport(
    invoke: Callable[..., Any], target: dict[str, str], connection: ConnectionOptions
) -> Transport:
    chosen = {
        "TargetModel": connection.get("target_model"),
        "TargetVariant": connection.get("target_variant"),
        "InferenceComponentName": connection.get("inference_component"),
    }
    target = target | {name: value for name, value in chosen.items() if value is not None}

    def send(request: Request) -> bytes:
        arguments = {**target, "Body": request.body, "ContentType": CONTENT_TYPE, "Accept": request.accept}
        if request.options:
            arguments["CustomAttributes"] = ";".join(f"{name}={value}" for name, value in request.options.items())
        return _response_body(invoke, arguments)

    return send


def _response_body(invoke: Callable[..., Any], arguments: dict[str, Any]) -> bytes:
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    try:
        body = invoke(**arguments)["Body"]
        content = bytes(body.read())
    except ClientError as error:
        raise _error_of_client(error) from error
    except NoCredentialsError as error:
        raise InputError("there are no AWS credentials; `aws configure` sets them, AWS_PROFILE chooses them") from error
    except BotoCoreError as error:
        raise PredictionError(_with_remedy(str(error), type(error).__name__)) from error
    status = getattr(body, "status", None)  # local mode returns errors like predictions
    if status is not None and status >= 400:
        raise error_of(status, content, _lower(body.headers))
    return content


def _error_of_client(error: Any) -> PredictionError:
    """The model's error, or SageMaker's own."""
    response = error.response
    code, message = response["Error"].get("Code", ""), response["Error"].get("Message", "")
    if code == "ModelError" and "OriginalStatusCode" in response:
        return error_of(response["OriginalStatusCode"], response.get("OriginalMessage") or message)
    metadata = response.get("ResponseMetadata", {})
    status = metadata.get("HTTPStatusCode")
    temporary = code in _TEMPORARY or status in (429, 503, 504)
    return PredictionError(_with_remedy(message, code), status, metadata.get("RequestId"), temporary=temporary)


def _with_remedy(message: str, code: str) -> str:
    """Add the remedy that the messages of SageMaker and botocore lack."""
    if "oversize" in message or "content length exceeded" in message or code == "ConnectionClosedError":
        return (
            f"{message} The request is too large; downsize=True with limit_mb=4 (serverless) or 6 sends a smaller one."
        )
    if "TimeoutError" in code:
        return f"{message} timeout=… allows more time; SageMaker itself gives up after 60 s."
    return message


def _runtime_client(connection: ConnectionOptions) -> Any:
    if connection.get("client") is not None:
        return connection["client"]
    session = connection.get("session")
    if _is_sdk_session(session):
        return session.sagemaker_runtime_client
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import NoRegionError
    except ModuleNotFoundError as error:
        raise InputError("endpoints need boto3: pip install boto3") from error
    # `send_with_retries` repeats instead: it knows which errors are temporary.
    config = Config(
        connect_timeout=10, read_timeout=connection.get("timeout", TIMEOUT), retries={"total_max_attempts": 1}
    )
    try:
        owner = session or boto3.Session()
        return owner.client("sagemaker-runtime", region_name=connection.get("region"), config=config)
    except NoRegionError as error:
        raise InputError("there is no AWS region; give region='eu-west-1', or set AWS_REGION") from error


def _is_sdk_session(session: Any) -> TypeGuard[Any]:
    return getattr(session, "sagemaker_runtime_client", None) is not None
