"""The scripts of examples/on_sagemaker, run in this process against an AWS on this machine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import count
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import boto3
import numpy as np
import pytest
from support.aws import BUCKET, IMAGE, KEYS, REGION, ROLE, Aws, start_aws
from support.images import draw_scene, save_image
from support.servers import start_standin

EXAMPLES = Path(__file__).resolve().parents[3] / "examples/on_sagemaker"


@pytest.fixture(scope="session")
def whole_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    """Every model in it says how bright an image is."""
    with start_standin(tmp_path_factory.mktemp("server") / "log") as server:
        server.pings_until(200)
        with start_aws(server.url, {"model.tar.gz": b"a model", "output.tar.gz": b"a report"}) as aws:
            yield aws


@pytest.fixture(scope="session")
def session() -> boto3.Session:
    """One for all tests: reading the model of SageMaker's API takes a second."""
    return boto3.Session(region_name=REGION)


@pytest.fixture
def aws(whole_aws: Aws, session: boto3.Session, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """Empty, but for a bucket, a role and an image. boto3 and the examples find it, and do not wait for long."""
    whole_aws.reset()
    monkeypatch.setattr(boto3, "Session", lambda **_: session)
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": whole_aws.url}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(EXAMPLES)
    for name in ("created", "watching"):
        monkeypatch.setattr(import_module(name), "PAUSE", 0.01)
    started = count()  # runs are named by the second of their start, and here a second may have several
    monkeypatch.setattr(
        import_module("options"), "time", SimpleNamespace(strftime=lambda _: f"0101-{next(started):06}")
    )
    return whole_aws


@pytest.fixture
def created() -> ModuleType:
    return import_module("created")


@pytest.fixture
def arguments(tmp_path: Path) -> dict[str, Any]:
    """Two channels of two classes, and an image."""
    for number, name in enumerate(("train/hat", "train/coat", "validation/hat", "validation/coat")):
        for index in range(2):
            save_image(tmp_path / name / f"{index}.jpg", draw_scene(2 * number + index)[0])
    save_image(tmp_path / "asked.png", np.full((8, 8, 3), 255, np.uint8))
    options = {"image": IMAGE, "role": ROLE, "bucket": BUCKET, "recipe": "classification", "output": tmp_path / "out"}
    channels = [f"{name}={tmp_path / name}" for name in ("train", "validation")]
    return {**options, "channel": channels, "picture": tmp_path / "asked.png"}


@pytest.fixture
def launch(aws: Aws, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Run the script: launch("train", "--yes", role="another"). None leaves an argument out."""

    def launch(*words: str, **others: Any) -> None:
        given = {name: value for name, value in {**arguments, **others}.items() if value is not None}
        channels = given.pop("channel", [])
        options = [f"--{name}={value}" for name, value in given.items()] + [f"--channel={it}" for it in channels]
        monkeypatch.setattr(sys, "argv", ["boto3_only.py", *options, *words])
        import_module("boto3_only").main()

    return launch
