"""Where the user's script is, and what it needs to be installed."""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from byoc_vision.archives import Rules, Unpacker, is_archive
from byoc_vision.artifact import CONFIG_FILE
from byoc_vision.errors import InputError, ResourceError

PROGRAM = "SAGEMAKER_PROGRAM"
SUBMIT_DIRECTORY = "SAGEMAKER_SUBMIT_DIRECTORY"
DEFAULT_PROGRAM = "inference.py"

_HANDLER = re.compile(r"\b(?:model|transform|predict)_fn\b")
_SOURCES = Rules(members=100_000, size=2**36, links=True)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Script:
    """A script to serve.

    program: its file. code: the folder on Python's path, where it is or below which it is. model: the folder that
    `model_fn` gets.
    """

    program: Path
    code: Path
    model: Path

    @property
    def requirements(self) -> Path | None:
        file = self.code / "requirements.txt"
        return file if file.is_file() else None


@contextmanager
def prepared_script(model: Path, environment: Mapping[str, str]) -> Iterator[Script | None]:
    """The script that serves the model of a folder, with its requirements installed; None if it has none.

    What is unpacked for it is removed when the block ends in the process in which it began.
    Raises InputError and ResourceError, with the remedy.
    """
    process, scratch = os.getpid(), Path(tempfile.gettempdir(), f"byoc-script-{secrets.token_hex(8)}")
    try:
        script = find_script(model, environment, scratch)
        if script is not None and script.requirements:
            install_requirements(script.requirements)
        yield script
    finally:
        if os.getpid() == process:  # not in a worker, which was forked within the block
            shutil.rmtree(scratch, ignore_errors=True)


def find_script(model: Path, environment: Mapping[str, str], scratch: Path) -> Script | None:
    """The script that the environment names, or `code/inference.py` of the model's folder; None if there is none.

    A variable may name a script that does not exist, as SDK v3 does, if the folder has a model of this image.

    Args:
        model: the model's folder; archives are often nested one deep.
        environment: `SAGEMAKER_PROGRAM` is the script, `SAGEMAKER_SUBMIT_DIRECTORY` its folder or archive.
        scratch: a new folder, for an archive that is unpacked.
    """
    model = _folder_with_code(model)
    named, directory = environment.get(PROGRAM, "").strip(), environment.get(SUBMIT_DIRECTORY, "").strip()
    program = named or DEFAULT_PROGRAM
    folders = [model / "code"]
    if directory:
        folders.insert(0, _fetch(directory, model, scratch))
    for folder in folders:
        if (folder / program).is_file():
            return Script(_serving_program(folder, program).absolute(), folder.absolute(), model.absolute())
    if (named or directory) and not _has_artifact(model):
        raise InputError(
            f"{PROGRAM}={named or program} is not in {' and not in '.join(map(str, folders))}; "
            f"put it into the folder `code` of the model's archive, or set {SUBMIT_DIRECTORY} to its folder"
        )
    return None


def _serving_program(folder: Path, program: str) -> Path:
    """`estimator.deploy()` names the training script: if it defines no handler, the usual script beside it serves."""
    named, usual = folder / program, folder / DEFAULT_PROGRAM
    if not usual.is_file() or _HANDLER.search(named.read_text(encoding="utf-8", errors="replace")):
        return named
    return usual


def install_requirements(file: Path, target: Path | None = None) -> None:
    """Install what a requirements.txt lists, into this Python or into a folder of its own. Raises ResourceError."""
    logger.info("Installing %s", file)
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--requirement", file.name]
    command += ["--target", str(target)] if target else []
    done = subprocess.run(
        command, cwd=file.parent, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    lines = done.stdout.splitlines()
    for line in lines:
        logger.info("pip: %s", line)
    if done.returncode:
        raise ResourceError(
            f"{file} could not be installed: {_reason(lines)}. If the container has no network, build the packages "
            "into an image that begins FROM this one, or put wheels beside the file and list them by their path"
        )


def _reason(lines: Sequence[str]) -> str:
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return errors[0] if errors else (lines[-1] if lines else "pip said nothing")


def _folder_with_code(model: Path) -> Path:
    if not (model / "code").is_dir() and not _has_artifact(model) and model.is_dir():
        nested = [child for child in model.iterdir() if (child / "code").is_dir()]
        if len(nested) == 1:
            return nested[0]
    return model


def _has_artifact(model: Path) -> bool:
    return (model / CONFIG_FILE).is_file() or any(model.glob(f"*/{CONFIG_FILE}"))


def _fetch(directory: str, model: Path, scratch: Path) -> Path:
    """The folder that a submit directory names: a path, of a folder or an archive, file:// or s3://."""
    url = urlsplit(directory)
    if url.scheme == "s3":
        scratch.mkdir(mode=0o700)
        archive = scratch / "sourcedir.tar.gz"
        _download(url.netloc, url.path.lstrip("/"), archive)
    elif url.scheme in ("", "file"):
        archive = model / (url.netloc + url.path if url.scheme else directory)
    else:
        raise InputError(f"{SUBMIT_DIRECTORY}={directory} is not a path, file:// or s3://")
    if archive.is_file() and is_archive(archive):
        folder = scratch / "code"
        folder.mkdir(mode=0o700, parents=True)
        Unpacker(folder, _SOURCES).unpack(archive)
        return folder
    return archive


def _download(bucket: str, key: str, file: Path) -> None:
    """As the training toolkit does: with the region and the endpoint of its variables."""
    import boto3
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    region = os.environ.get("AWS_REGION") or os.environ.get("SAGEMAKER_REGION") or None
    try:
        s3 = boto3.client("s3", region_name=region, endpoint_url=os.environ.get("S3_ENDPOINT_URL") or None)
        s3.download_file(bucket, key, str(file))
    except (Boto3Error, BotoCoreError, ClientError) as error:
        raise ResourceError(
            f"{SUBMIT_DIRECTORY}=s3://{bucket}/{key} could not be downloaded: {error}; "
            "allow the endpoint's role s3:GetObject there, or put the script into the model's archive"
        ) from error
