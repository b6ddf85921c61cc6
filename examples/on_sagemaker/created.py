"""All that a script makes on AWS, remembered, so that it is deleted again whatever happens.

    with Created(boto3.Session(), Path("created.json")) as created:
        sagemaker.create_model(ModelName=created.model("cars-1"), …)
        sagemaker.create_endpoint_config(EndpointConfigName=created.endpoint_config("cars-1"), …)
        sagemaker.create_endpoint(EndpointName=created.endpoint("cars-1"), …)

A resource is named before it is made, so that an interruption in between loses nothing; names must therefore be new.
The block's end deletes in reverse order: also after an error, Ctrl-C or SIGTERM. What is there is written to a file,
from which `Created(…).delete()` deletes after a crash, or after `keep=True`. What is gone already counts as deleted.
Jobs are stopped; SageMaker keeps their records, and CloudWatch their logs.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NamedTuple

import boto3
from botocore.exceptions import BotoCoreError, ClientError

PAUSE = 10.0  # seconds between two looks at what is not ready to be deleted
LIMIT = 3600.0  # seconds; longer than SageMaker itself takes to make an endpoint or to stop a job

_GONE = ("could not find", "does not exist", "not found", "nosuchbucket", "no such", "requested resource not found")


Client = Callable[[str], Any]  # boto3's, of a service


class LeftBehindError(Exception):
    """Something was not deleted; the message names it and how to delete it."""


class Resource(NamedTuple):
    """kind: a key of DELETERS. name: as AWS calls it, for a place in S3 its address."""

    kind: str
    name: str


class Created:
    """Resources in the order in which they were made, of one region.

    file: where they are written down; those of an earlier run come first. keep: leave them when the block ends.
    """

    def __init__(self, session: boto3.Session, file: Path | None = None, keep: bool = False) -> None:
        self._client = lru_cache(session.client)  # making one takes boto3 half a second
        self._file = file
        self._keep = keep
        self._handlers: dict[int, Any] = {}
        self.resources = _read(file)

    def endpoint(self, name: str) -> str:
        return self.add("endpoint", name)

    def endpoint_config(self, name: str) -> str:
        return self.add("endpoint config", name)

    def model(self, name: str) -> str:
        return self.add("model", name)

    def training_job(self, name: str) -> str:
        return self.add("training job", name)

    def tuning_job(self, name: str) -> str:
        return self.add("tuning job", name)

    def transform_job(self, name: str) -> str:
        return self.add("transform job", name)

    def folder(self, uri: str) -> str:
        """s3://BUCKET/FOLDER/, with all that will lie below it. Raises ValueError for a whole bucket."""
        if not uri.removeprefix("s3://").partition("/")[2].strip("/"):
            raise ValueError(f"{uri} is a whole bucket; name a folder in it")
        return self.add("folder", f"{uri.rstrip('/')}/")

    def bucket(self, name: str) -> str:
        """Deleted where it is empty by then."""
        return self.add("bucket", name)

    def add(self, kind: str, name: str) -> str:
        """Remember a resource that is about to be made; returns its name."""
        resource = Resource(kind, name)
        if resource not in self.resources:
            self.resources.append(resource)
            self._write()
        return name

    def delete(self) -> None:
        """Delete everything, the newest first. Ctrl-C does not interrupt it.

        Raises LeftBehindError, after all others are deleted, where something resists.
        """
        failures = []
        with _undisturbed():
            for resource in reversed(list(self.resources)):
                try:
                    DELETERS[resource.kind](self._client, resource.name)
                except (BotoCoreError, ClientError, TimeoutError) as error:
                    failures.append(f"{resource.kind} {resource.name}: {error}")
                else:
                    _say(f"deleted {resource.kind} {resource.name}")
                    self.resources.remove(resource)
                    self._write()
        if failures:
            where = f"; {self._file} lists what is left" if self._file else ""
            raise LeftBehindError("\n  - ".join([f"not deleted, and it may cost money{where}:", *failures]))

    def __enter__(self) -> Created:
        if threading.current_thread() is threading.main_thread():
            self._handlers[signal.SIGTERM] = signal.signal(signal.SIGTERM, _end_as_on_ctrl_c)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._keep:
                self._tell_what_is_kept()
            else:
                self._delete_after(error)
        finally:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)

    def _delete_after(self, error: BaseException | None) -> None:
        """An error that ends the block is told, not the ones that follow from it."""
        try:
            self.delete()
        except LeftBehindError as left:
            if error is None:
                raise
            _say(str(left))

    def _tell_what_is_kept(self) -> None:
        for resource in self.resources:
            costs = " (costs money as long as it is there)" if resource.kind == "endpoint" else ""
            _say(f"kept {resource.kind} {resource.name}{costs}")

    def _write(self) -> None:
        """Whole or not at all: the file is what is left after a crash."""
        if self._file is None:
            return
        if not self.resources:
            self._file.unlink(missing_ok=True)
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        beside = self._file.with_name(f".{self._file.name}.{os.getpid()}")
        beside.write_text(json.dumps([resource._asdict() for resource in self.resources], indent=1))
        beside.replace(self._file)


def _read(file: Path | None) -> list[Resource]:
    if file is None or not file.exists():
        return []
    return [Resource(**entry) for entry in json.loads(file.read_text())]


def _end_as_on_ctrl_c(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ctrl-C and SIGTERM are answered, not obeyed, until the block ends."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals come to the main thread alone
        return

    def answer(number: int, frame: FrameType | None) -> None:
        _say("still deleting what would cost money; this ends by itself")

    before = {number: signal.signal(number, answer) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def _unless_gone() -> Iterator[None]:
    """What does not exist counts as deleted."""
    try:
        yield
    except ClientError as error:
        said = f"{error.response['Error'].get('Code', '')} {error.response['Error'].get('Message', '')}".lower()
        if not any(words in said for words in _GONE):
            raise


def _wait_while(passing: tuple[str, ...], status: Callable[[], str]) -> None:
    give_up = time.monotonic() + LIMIT
    while (seen := status()) in passing:
        if time.monotonic() > give_up:
            raise TimeoutError(f"it is {seen} for more than an hour")
        time.sleep(PAUSE)


def _delete_endpoint(client: Client, name: str) -> None:
    """SageMaker deletes none that is being made: wait until it is, or has failed."""
    sagemaker = client("sagemaker")
    with _unless_gone():
        _wait_while(
            ("Creating", "Updating", "SystemUpdating", "RollingBack"),
            lambda: str(sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"]),
        )
        sagemaker.delete_endpoint(EndpointName=name)


def _delete_endpoint_config(client: Client, name: str) -> None:
    with _unless_gone():
        client("sagemaker").delete_endpoint_config(EndpointConfigName=name)


def _delete_model(client: Client, name: str) -> None:
    with _unless_gone():
        client("sagemaker").delete_model(ModelName=name)


def _stop_training(client: Client, name: str) -> None:
    sagemaker = client("sagemaker")
    job = {"TrainingJobName": name}
    _stop(
        lambda: sagemaker.describe_training_job(**job)["TrainingJobStatus"], lambda: sagemaker.stop_training_job(**job)
    )


def _stop_tuning(client: Client, name: str) -> None:
    """Its training jobs are stopped with it."""
    sagemaker = client("sagemaker")
    job = {"HyperParameterTuningJobName": name}
    _stop(
        lambda: sagemaker.describe_hyper_parameter_tuning_job(**job)["HyperParameterTuningJobStatus"],
        lambda: sagemaker.stop_hyper_parameter_tuning_job(**job),
    )


def _stop_transform(client: Client, name: str) -> None:
    sagemaker = client("sagemaker")
    job = {"TransformJobName": name}
    _stop(
        lambda: sagemaker.describe_transform_job(**job)["TransformJobStatus"],
        lambda: sagemaker.stop_transform_job(**job),
    )


def _stop(status: Callable[[], str], stop: Callable[[], object]) -> None:
    """Waits for the end: a job that is stopping still writes to S3, which is deleted after it."""
    with _unless_gone():
        if status() == "InProgress":
            stop()
        _wait_while(("InProgress", "Stopping"), status)


def _delete_folder(client: Client, uri: str) -> None:
    """With all versions, where the bucket keeps them."""
    bucket, _, folder = uri.removeprefix("s3://").partition("/")
    with _unless_gone():
        for page in client("s3").get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=folder):
            found = page.get("Versions", []) + page.get("DeleteMarkers", [])
            if files := [{"Key": file["Key"], "VersionId": file["VersionId"]} for file in found]:
                client("s3").delete_objects(Bucket=bucket, Delete={"Objects": files, "Quiet": True})


def _delete_bucket(client: Client, name: str) -> None:
    try:
        with _unless_gone():
            client("s3").delete_bucket(Bucket=name)
    except ClientError as error:
        if error.response["Error"].get("Code") != "BucketNotEmpty":
            raise
        _say(f"the bucket {name} stays: others have files in it")


DELETERS: dict[str, Callable[[Client, str], None]] = {
    "endpoint": _delete_endpoint,
    "endpoint config": _delete_endpoint_config,
    "model": _delete_model,
    "training job": _stop_training,
    "tuning job": _stop_tuning,
    "transform job": _stop_transform,
    "folder": _delete_folder,
    "bucket": _delete_bucket,
}
