"""The server's settings, read once from its environment.

Names that begin with SAGEMAKER_ are set by the platform. Source: "Use Your Own Inference Code with Hosting
Services" and "… with Batch Transform" in the SageMaker developer guide.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

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


class Settings(BaseModel):
    """Sizes in MB are of 2^20 bytes, durations in seconds. A field's alias is the variable that sets it."""

    model_config = ConfigDict(frozen=True, validate_by_name=True)

    root: Path = Field(
        MlPaths().root, alias="ML_ROOT", description="Replaces /opt/ml; the model is in its folder `model`."
    )
    port: int = Field(8080, alias="SAGEMAKER_BIND_TO_PORT", ge=1, le=65535, description="The port to listen on.")
    max_payload_mb: int = Field(
        100, alias="MAX_PAYLOAD_MB", ge=1, le=4096, description="The largest request body, in MB; larger ones get 413."
    )
    max_megapixels: int = Field(
        178,
        alias="MAX_MEGAPIXELS",
        ge=1,
        le=4096,
        description="The largest image, in megapixels; larger ones get 413.",
    )
    memory_budget_mb: int = Field(
        0,
        alias="MEMORY_BUDGET_MB",
        ge=0,
        le=2**24,
        description="Memory that all requests of a process may take together, in MB; others wait or get 503. 0: the "
        "container's free memory.",
    )
    batch_size: int = Field(
        8, alias="BATCH_SIZE", ge=1, le=1024, description="The most images that go through the model together."
    )
    batch_wait_ms: int = Field(
        0,
        alias="BATCH_WAIT_MS",
        ge=0,
        le=1000,
        description="Milliseconds that a batch which is not full waits for images being decoded.",
    )
    queue_length: int = Field(
        64, alias="QUEUE_LENGTH", ge=1, le=4096, description="The most images accepted at once; further ones get 503."
    )
    request_timeout: int = Field(
        55,
        alias="REQUEST_TIMEOUT",
        ge=1,
        le=3600,
        description="Seconds until a waiting request gets 504; also `SAGEMAKER_MODEL_SERVER_TIMEOUT`.",
    )
    workers: int = Field(
        0,
        alias="SERVER_WORKERS",
        ge=0,
        le=64,
        description="Processes, each with its own model; 0: one per GPU, or 1. Also `SAGEMAKER_MODEL_SERVER_WORKERS`.",
    )
    default_accept: str = Field(
        "application/json",
        alias="SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT",
        description="What a script of your own returns to clients that state no preference.",
    )
    engine: Annotated[EngineName, BeforeValidator(str.lower)] = Field(
        "auto",
        alias="ENGINE",
        description="`auto`, `torch` or `openvino`: the inference engine; see docs/serving.md.",
    )
    precision: Annotated[EnginePrecision, BeforeValidator(str.lower)] = Field(
        "auto",
        alias="PRECISION",
        description="`auto`, `float32`, `bfloat16` or `int8`: the precision of inference. `auto`: on a CPU the fastest "
        "one, measured at load; see docs/serving.md.",
    )
    allow_cpu_fallback: bool = Field(
        False,
        alias="ALLOW_CPU_FALLBACK",
        description="`true` serves on the CPU if the GPU cannot be used, instead of ending with an error.",
    )
    cuda_graphs: bool = Field(
        False,
        alias="CUDA_GRAPHS",
        description="`true` records CUDA graphs for batches of 1, 2, 4 and 8 at load, for small networks on a GPU; "
        "see docs/gpu.md.",
    )
    page: bool = Field(True, alias="PAGE", description="`0` disables the page at `/`.")
    log_level: LogLevel = Field("info", alias="LOG_LEVEL", description="`debug`, `info`, `warning` or `error`.")
    log_format: LogFormat = Field(
        "text", alias="LOG_FORMAT", description="`text`, or `json`: every line is JSON, with one line per request."
    )
    record_errors: Annotated[ErrorRule, BeforeValidator(str.lower)] = Field(
        "fail",
        alias="RECORD_ERRORS",
        description="If one of several images cannot be read: `fail` rejects all, `line` returns an error for it.",
    )
    batch_transform: bool = Field(False, alias="SAGEMAKER_BATCH", description="`true` in a batch transform.")
    batch_strategy: BatchStrategy = Field(
        "SINGLE_RECORD",
        alias="SAGEMAKER_BATCH_STRATEGY",
        description="Batch transform: one record per request, or several.",
    )
    transform_payload_mb: int = Field(
        0,
        alias="SAGEMAKER_MAX_PAYLOAD_IN_MB",
        ge=0,
        le=100,
        description="Batch transform: the largest request body in MB, instead of MAX_PAYLOAD_MB; 0: propose 25.",
    )
    transform_concurrency: int = Field(
        0,
        alias="SAGEMAKER_MAX_CONCURRENT_TRANSFORMS",
        ge=0,
        description="Batch transform: requests at once; 0: as many as fit into 100 MB.",
    )

    multi_model: bool = Field(
        False, alias="SAGEMAKER_MULTI_MODEL", description="`true` serves a multi-model endpoint: many models by name."
    )
    multi_model_server: MultiModelServer = Field(
        "own",
        alias="MULTI_MODEL_SERVER",
        description="Multi-model endpoints: `own`, or `mms`: AWS's multi-model-server.",
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


class Variable(NamedTuple):
    """An environment variable, for the documentation."""

    name: str
    default: str
    meaning: str


def variables() -> list[Variable]:
    """Every variable, for the documentation."""
    fields = ((name, Settings.model_fields[field]) for name, field in _fields_by_variable().items())
    return [Variable(name, _shown(field.default), field.description or "") for name, field in fields]


def variables_table() -> str:
    """Every variable, as a Markdown table."""
    rows = [f"| `{name}` | {default} | {meaning} |" for name, default, meaning in variables()]
    return "\n".join(["| variable | default | meaning |", "|---|---|---|", *rows])


def _given(name: str, environment: Mapping[str, str]) -> str:
    return (environment.get(name) or environment.get(SYNONYMS.get(name, "")) or "").strip()


def _shown(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


def _fields_by_variable() -> dict[str, str]:
    return {field.alias: name for name, field in Settings.model_fields.items() if field.alias}
