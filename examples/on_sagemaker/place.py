"""Where a run's files lie: in a folder in S3, or in local mode on this machine. And where its resources are."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3


@dataclass(frozen=True)
class Place:
    """address: of the folder, s3://BUCKET/FOLDER or file:///FOLDER, without a slash at its end."""

    address: str
    session: boto3.Session

    def of(self, name: str) -> str:
        """The address of something in it."""
        return f"{self.address}/{name}"

    def folder(self, name: str) -> str:
        """The address of a folder in it that is read: S3 matches prefixes, so it ends with a slash."""
        return f"{self.of(name)}/"

    def put(self, folder: Path, name: str) -> str:
        """Bring a folder of this machine there, under a name; what is on this machine already stays where it is.

        Returns its address. In S3 it ends in a slash: `train` alone would also stand for `train_masks`.
        """
        if self.address.startswith("file:"):
            return folder.resolve().as_uri()
        bucket, key = parts(self.of(name))
        s3 = self.session.client("s3")
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            s3.upload_file(str(file), bucket, f"{key}/{file.relative_to(folder).as_posix()}")
        return self.folder(name)

    def copy(self, address: str, name: str) -> str:
        """Copy one file, from this machine or from S3, into the folder."""
        bucket, key = parts(self.of(name))
        s3 = self.session.client("s3")
        if address.startswith("s3:"):
            source, source_key = parts(address)
            s3.copy({"Bucket": source, "Key": source_key}, bucket, key)
        else:
            s3.upload_file(address.removeprefix("file://"), bucket, key)
        return self.of(name)

    def read(self, address: str) -> bytes:
        if address.startswith("file:"):
            return Path(address.removeprefix("file://")).read_bytes()
        bucket, key = parts(address)
        return bytes(self.session.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read())

    def wait_for(self, address: str, failure: str, limit: float = 600) -> str:
        """The address, once a file is there. Raises RuntimeError: with what lies at `failure`, or after `limit` s."""
        s3, give_up = self.session.client("s3"), time.monotonic() + limit
        while time.monotonic() < give_up:
            if _is_there(s3, address):
                return address
            if _is_there(s3, failure):
                raise RuntimeError(f"the model did not answer: {self.read(failure).decode(errors='replace')}")
            time.sleep(2)
        raise RuntimeError(f"there is no {address} after {limit:.0f} s")

    def fetch(self, address: str, folder: Path) -> Path:
        """Bring a file to a folder of this machine."""
        target = folder / address.rpartition("/")[2]
        if not address.startswith("file:"):
            bucket, key = parts(address)
            self.session.client("s3").download_file(bucket, key, str(target))
        elif (source := Path(address.removeprefix("file://"))) != target:
            shutil.copyfile(source, target)
        return target


def _is_there(s3: Any, address: str) -> bool:
    bucket, key = parts(address)
    return bool(s3.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1).get("KeyCount"))


def parts(address: str) -> tuple[str, str]:
    """The bucket and the key of s3://BUCKET/KEY."""
    bucket, _, key = address.removeprefix("s3://").partition("/")
    return bucket, key


class LocalAccount:
    """Local mode in the place of an account, so that `Created` deletes there, too."""

    def __init__(self, sagemaker_client: Any) -> None:
        self._client = sagemaker_client

    def client(self, service: str) -> Any:
        return self

    def describe_endpoint(self, EndpointName: str) -> dict[str, str]:  # noqa: N803
        """One whose container did not come up would stay in the state Creating."""
        self._client.describe_endpoint(EndpointName)
        return {"EndpointStatus": "InService"}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)
