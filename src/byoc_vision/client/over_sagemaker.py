"""Asking an endpoint of SageMaker: by its name, or by what the SDKs return from a deployment."""

from __future__ import annotations

from typing import Any, TypeGuard

from byoc_vision.client.errors import PredictionError, error_of
from byoc_vision.client.images import CONTENT_TYPE
from byoc_vision.client.request import TIMEOUT, Ask, Request, Where
from byoc_vision.errors import InputError

_PASSING = ("ModelNotReadyException", "ServiceUnavailable", "ThrottlingException", "InternalDependencyException")


def ask_endpoint(name: str, where: Where) -> Ask:
    """Something that asks the endpoint of this name. Raises InputError: no boto3, region or credentials."""
    return _asking(_runtime_client(where).invoke_endpoint, {"EndpointName": name, **_aims(where)})


def ask_deployed(deployed: Any, where: Where) -> Ask:
    """Something that asks an SDK's own object: v2's predictor, v3's endpoint, each with its own session.

    Its serializers are left aside: a picture goes out as it is, and we read the answer.
    """
    aims = {"EndpointName": deployed.endpoint_name, **_aims(where)}
    if component := getattr(deployed, "component_name", None):
        aims.setdefault("InferenceComponentName", component)
    if "client" in where or "session" in where or "region" in where:
        return _asking(_runtime_client(where).invoke_endpoint, aims)
    for session in (getattr(deployed, "sagemaker_session", None), getattr(deployed, "_local_session", None)):
        if _is_sdk_session(session):
            return _asking(session.sagemaker_runtime_client.invoke_endpoint, aims)
    if hasattr(deployed, "model_copy"):
        return _asking(_invoke_v3(deployed), aims)
    return _asking(_runtime_client(where).invoke_endpoint, aims)


def _invoke_v3(endpoint: Any) -> Any:
    """v3's endpoint, called as boto3's client is; a copy, so that its serializers do not touch the picture."""
    bare = endpoint.model_copy(update={"serializer": None, "deserializer": None})
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
        return {"Body": bare.invoke(**{names[key]: arguments[key] for key in arguments.keys() & names}).body}

    return invoke


def _asking(invoke: Any, aims: dict[str, str]) -> Ask:
    def ask(request: Request) -> bytes:
        arguments = {**aims, "Body": request.body, "ContentType": CONTENT_TYPE, "Accept": request.accept}
        if request.options:
            arguments["CustomAttributes"] = ";".join(f"{name}={value}" for name, value in request.options.items())
        return _answer(invoke, arguments)

    return ask


def _answer(invoke: Any, arguments: dict[str, Any]) -> bytes:
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    try:
        body = invoke(**arguments)["Body"]
        content = bytes(body.read())
    except ClientError as error:
        raise _told(error) from error
    except NoCredentialsError as error:
        raise InputError("there are no AWS credentials; `aws configure` sets them, AWS_PROFILE chooses them") from error
    except BotoCoreError as error:
        raise PredictionError(_advised(str(error), type(error).__name__)) from error
    status = getattr(body, "status", None)  # local mode returns errors as if they were answers
    if status is not None and status >= 400:
        raise error_of(status, content, {name.lower(): value for name, value in body.headers.items()})
    return content


def _told(error: Any) -> PredictionError:
    """What the model said, or SageMaker in its place."""
    response = error.response
    code, message = response["Error"].get("Code", ""), response["Error"].get("Message", "")
    if code == "ModelError" and "OriginalStatusCode" in response:
        return error_of(response["OriginalStatusCode"], response.get("OriginalMessage") or message)
    metadata = response.get("ResponseMetadata", {})
    status = metadata.get("HTTPStatusCode")
    passing = code in _PASSING or status in (429, 503, 504)
    return PredictionError(_advised(message, code), status, metadata.get("RequestId"), temporary=passing)


def _advised(message: str, code: str) -> str:
    """With the remedy, where the words of SageMaker or botocore lack it."""
    if "oversize" in message or "content length exceeded" in message or code == "ConnectionClosedError":
        return f"{message} A request is too large: downsize=True with limit_mb=4 (serverless) or 6 sends a smaller one."
    if "TimeoutError" in code:
        return f"{message} timeout=… gives it more time; SageMaker itself gives up after 60 s."
    return message


def _aims(where: Where) -> dict[str, str]:
    named = {
        "TargetModel": where.get("target_model"),
        "TargetVariant": where.get("target_variant"),
        "InferenceComponentName": where.get("inference_component"),
    }
    return {name: value for name, value in named.items() if value is not None}


def _runtime_client(where: Where) -> Any:
    if where.get("client") is not None:
        return where["client"]
    session = where.get("session")
    if _is_sdk_session(session):
        return session.sagemaker_runtime_client
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import NoRegionError
    except ModuleNotFoundError as error:
        raise InputError("endpoints are asked with boto3: pip install boto3") from error
    # Asked again by us, who know which errors pass.
    config = Config(connect_timeout=10, read_timeout=where.get("timeout", TIMEOUT), retries={"total_max_attempts": 1})
    try:
        owner = session or boto3.Session()
        return owner.client("sagemaker-runtime", region_name=where.get("region"), config=config)
    except NoRegionError as error:
        raise InputError("there is no AWS region; give region='eu-west-1', or set AWS_REGION") from error


def _is_sdk_session(session: Any) -> TypeGuard[Any]:
    return getattr(session, "sagemaker_runtime_client", None) is not None
