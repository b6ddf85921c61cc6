"""The server's settings, read once from its environment.

Names that begin with SAGEMAKER_ are set by the platform. Source: "Use Your Own Inference Code with Hosting
Services" and "… with Batch Transform" in the SageMaker developer guide.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from byoc_vision.errors import InputError, list_problems
from byoc_vision.inference.engines.base import EngineName, EnginePrecision
from byoc_vision.paths import MlPaths

MEGABYTE = 2**20
LINE_BYTES = 2**10
SPARE_THREADS = 16  # besides those that wait for the model: for bodies that arrive and responses that leave
TRANSFORM_MEGABYTES = 100  # the most that payload × concurrency of a batch transform may be
TRANSFORM_PAYLOAD_MB = 25

# Names of SageMaker's toolkits, which count if our own is absent.
SYNONYMS = {"SERVER_WORKERS": "SAGEMAKER_MODEL_SERVER_WORKERS", "REQUEST_TIMEOUT": "SAGEMAKER_MODEL_SERVER_TIMEOUT"}

LogFormat = Annotated[Literal["text", "json"], BeforeValidator(str.lower)]
LogLevel = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(str.lower)]
BatchStrategy = Literal["SINGLE_RECORD", "MULTI_RECORD"]
MultiModelServer = Annotated[Literal["own", "mms"], BeforeValidator(str.lower)]
ErrorRule = Literal["fail", "line"]


def _variable(name: str, default: object, meaning: str, **limits: int) -> Any:
    """A setting, and the environment variable that sets it."""
    return Field(default, alias=name, description=meaning, **limits)  # type: ignore[call-overload]


class Settings(BaseModel):
    """Sizes in MB are of 2^20 bytes, durations in seconds."""

    model_config = ConfigDict(frozen=True, validate_by_name=True)

    root: Path = _variable("ML_ROOT", MlPaths().root, "Replaces /opt/ml; the model is in its folder `model`.")
    port: int = _variable("SAGEMAKER_BIND_TO_PORT", 8080, "The port to listen on.", ge=1, le=65535)
    max_payload_mb: int = _variable(
        "MAX_PAYLOAD_MB", 100, "The largest request body, in MB; larger ones get 413.", ge=1, le=4096
    )
    max_megapixels: int = _variable(
        "MAX_MEGAPIXELS", 178, "The largest image, in megapixels; larger ones get 413.", ge=1, le=4096
    )
    memory_budget_mb: int = _variable(
        "MEMORY_BUDGET_MB",
        0,
        "Memory that all requests of a process may take together, in MB; others wait or get 503. 0: the container's "
        "free memory.",
        ge=0,
        le=2**24,
    )
    batch_size: int = _variable("BATCH_SIZE", 8, "The most images that go through the model together.", ge=1, le=1024)
    batch_wait_ms: int = _variable(
        "BATCH_WAIT_MS", 0, "Milliseconds that a batch which is not full waits for images being decoded.", ge=0, le=1000
    )
    queue_length: int = _variable(
        "QUEUE_LENGTH", 64, "The most images accepted at once; further ones get 503.", ge=1, le=4096
    )
    request_timeout: int = _variable(
        "REQUEST_TIMEOUT",
        55,
        "Seconds until a waiting request gets 504; also `SAGEMAKER_MODEL_SERVER_TIMEOUT`.",
        ge=1,
        le=3600,
    )
    workers: int = _variable(
        "SERVER_WORKERS",
        0,
        "Processes, each with its own model; 0: one per GPU, or 1. Also `SAGEMAKER_MODEL_SERVER_WORKERS`.",
        ge=0,
        le=64,
    )
    default_accept: str = _variable(
        "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT",
        "application/json",
        "What a script of your own returns to clients that state no preference.",
    )
    engine: Annotated[EngineName, BeforeValidator(str.lower)] = _variable(
        "ENGINE", "auto", "`auto`, `torch` or `openvino`: the inference engine; see docs/serving.md."
    )
    precision: Annotated[EnginePrecision, BeforeValidator(str.lower)] = _variable(
        "PRECISION",
        "auto",
        "`auto`, `float32`, `bfloat16` or `int8`: the precision of inference. `auto`: on a CPU the fastest one, "
        "measured at load; see docs/serving.md.",
    )
    allow_cpu_fallback: bool = _variable(
        "ALLOW_CPU_FALLBACK",
        False,
        "`true` serves on the CPU if the GPU cannot be used, instead of ending with an error.",
    )
    cuda_graphs: bool = _variable(
        "CUDA_GRAPHS",
        False,
        "`true` records CUDA graphs for batches of 1, 2, 4 and 8 at load, for small networks on a GPU; see "
        "docs/gpu.md.",
    )
    page: bool = _variable("PAGE", True, "`0` disables the page at `/`.")
    log_level: LogLevel = _variable("LOG_LEVEL", "info", "`debug`, `info`, `warning` or `error`.")
    log_format: LogFormat = _variable(
        "LOG_FORMAT", "text", "`text`, or `json`: every line is JSON, with one line per request."
    )
    record_errors: Annotated[ErrorRule, BeforeValidator(str.lower)] = _variable(
        "RECORD_ERRORS",
        "fail",
        "If one of several images cannot be read: `fail` rejects all, `line` returns an error for it.",
    )
    batch_transform: bool = _variable("SAGEMAKER_BATCH", False, "`true` in a batch transform.")
    batch_strategy: BatchStrategy = _variable(
        "SAGEMAKER_BATCH_STRATEGY", "SINGLE_RECORD", "Batch transform: one record per request, or several."
    )
    transform_payload_mb: int = _variable(
        "SAGEMAKER_MAX_PAYLOAD_IN_MB",
        0,
        "Batch transform: the largest request body in MB, instead of MAX_PAYLOAD_MB; 0: propose 25.",
        ge=0,
        le=100,
    )
    transform_concurrency: int = _variable(
        "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS",
        0,
        "Batch transform: requests at once; 0: as many as fit into 100 MB.",
        ge=0,
    )
    multi_model: bool = _variable(
        "SAGEMAKER_MULTI_MODEL", False, "`true` serves a multi-model endpoint: many models by name."
    )
    multi_model_server: MultiModelServer = _variable(
        "MULTI_MODEL_SERVER", "own", "Multi-model endpoints: `own`, or `mms`: AWS's multi-model-server."
    )

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str], root: Path | None = None, port: int | None = None
    ) -> Settings:
        """Variables that are absent or empty have their defaults; `root` and `port` override their variables.

        Raises InputError, which names every invalid variable.
        """
        given = {name: _given(name, environment) for name in _fields_by_variable()}
        chosen = {"ML_ROOT": root, "SAGEMAKER_BIND_TO_PORT": port}
        values = {name: text for name, text in given.items() if text}
        try:
            return cls.model_validate(values | {name: value for name, value in chosen.items() if value is not None})
        except ValidationError as error:
            problems = [f"{item['loc'][0]}={item['input']}: {item['msg']}" for item in error.errors()]
            raise InputError(list_problems("invalid environment variables:", problems)) from error

    @property
    def model(self) -> Path:
        return MlPaths(self.root).model

    @property
    def models(self) -> Path:
        return MlPaths(self.root).models

    @property
    def max_body(self) -> int:
        """Bytes."""
        transform_payload_mb = self.transform_payload_mb if self.batch_transform else 0
        return (transform_payload_mb or self.max_payload_mb) * MEGABYTE

    @property
    def max_lines(self) -> int:
        """Of a request of JSON lines: a line with an image rarely has less than a kilobyte."""
        return max(self.queue_length, self.max_body // LINE_BYTES)

    @property
    def max_pixels(self) -> int:
        return self.max_megapixels * 1_000_000

    @property
    def threads(self) -> int:
        """Enough to reject further requests while every accepted one waits for the model."""
        return self.queue_length + SPARE_THREADS

    @property
    def logging_level(self) -> int:
        return logging.getLevelNamesMapping()[self.log_level.upper()]

    def execution_parameters(self) -> dict[str, int | str]:
        """The parameters for a batch transform, in which payload × concurrency must not exceed 100 MB."""
        payload = self.transform_payload_mb or min(TRANSFORM_PAYLOAD_MB, self.max_payload_mb)
        concurrency = self.transform_concurrency or max(1, min(self.queue_length, TRANSFORM_MEGABYTES // payload))
        return {"MaxConcurrentTransforms": concurrency, "BatchStrategy": self.batch_strategy, "MaxPayloadInMB": payload}


def variables_table() -> str:
    """Every variable, as a Markdown table for the documentation."""
    fields = {name: Settings.model_fields[field] for name, field in _fields_by_variable().items()}
    rows = [f"| `{name}` | {_shown(field.default)} | {field.description} |" for name, field in fields.items()]
    return "\n".join(["| variable | default | meaning |", "|---|---|---|", *rows])


def _given(name: str, environment: Mapping[str, str]) -> str:
    return (environment.get(name) or environment.get(SYNONYMS.get(name, "")) or "").strip()


def _shown(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


def _fields_by_variable() -> dict[str, str]:
    return {field.alias: name for name, field in Settings.model_fields.items() if field.alias}
