"""byoc_vision.client within both SageMaker SDKs, each in its own environment, before a real server."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from support.aws import KEYS
from support.containers import REPOSITORY
from support.images import encode
from support.runtime import Runtime, start_runtime
from support.servers import Server, start_standin

pytestmark = pytest.mark.slow

# Each asks the endpoint `light` for the image that it is given: by the SDK's own call, and by predict_classes.
V2 = """
import json, sys
from sagemaker import Session
from sagemaker.predictor import Predictor
from byoc_vision.client import ClassesDeserializer, ImageSerializer, predict_classes

image, telemetry = sys.argv[1], {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}}
session = Session(sagemaker_config={"SchemaVersion": "1.0", "SageMaker": telemetry})
predictor = Predictor("light", session, ImageSerializer(), ClassesDeserializer())
answers = [predictor.predict(image), predict_classes(predictor, image)]
"""
V3 = """
import json, sys
from byoc_vision.client import ClassesDeserializer, ImageSerializer, predict_classes

serializer, deserializer = ImageSerializer(), ClassesDeserializer()
from sagemaker.core.resources import Endpoint

image = sys.argv[1]
endpoint = Endpoint(endpoint_name="light", serializer=serializer, deserializer=deserializer)
answers = [endpoint.invoke(image, content_type=serializer.CONTENT_TYPE).body, predict_classes(endpoint, image)]
answers.append(predict_classes(Endpoint(endpoint_name="light"), image))
"""
LOCAL = """
import json, sys
import boto3
from PARENT import LocalSession
from byoc_vision.client import PredictionError, predict_classes

session = LocalSession(boto3.Session("local", "local", region_name="us-east-1"))
session.config = {"local": {"local_code": True, "serving_port": int(sys.argv[2])}}
answers = [predict_classes("light", sys.argv[1], session=session)]
try:
    predict_classes("light", b"no image", session=session)
except PredictionError as error:
    answers.append([error.status, error.message])
"""
TELL = "\nprint('answers:', json.dumps(answers))\n"


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A classifier that says how bright an image is."""
    with start_standin(tmp_path_factory.mktemp("light") / "log") as server:
        server.pings_until(200)
        yield server


@pytest.fixture(scope="module")
def runtime(light: Server) -> Iterator[Runtime]:
    with start_runtime({"light": light.url}) as runtime:
        yield runtime


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    path.write_bytes(encode(np.full((20, 30, 3), 204, np.uint8)))
    return path


@pytest.fixture
def run(runtime: Runtime, image: Path) -> Callable[..., list[object]]:
    """What a program tells as its answers, in the environment of an SDK: run(3, program, …)."""

    def run(version: int, program: str, *arguments: str) -> list[object]:
        python = REPOSITORY / f".venv-sdk{version}/bin/python"
        assert python.exists(), f"{python} is missing: `make sdk-clients` makes it"
        paths = {"PYTHONPATH": str(REPOSITORY / "src"), "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": runtime.url}
        done = subprocess.run(
            [python, "-c", program + TELL, image, *arguments],
            env={**os.environ, **KEYS, **paths},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        print(done.stdout)
        assert done.returncode == 0
        (told,) = [line for line in done.stdout.splitlines() if line.startswith("answers: ")]
        return list(json.loads(told.removeprefix("answers: ")))

    return run


EXPECTED = [["bright", pytest.approx(0.8, abs=1e-4)], ["dark", pytest.approx(0.2, abs=1e-4)]]


def test_v2_takes_our_serializers_and_we_its_predictors(run: Callable[..., list[object]], runtime: Runtime) -> None:
    assert run(2, V2) == [EXPECTED] * 2
    assert {seen.headers["Content-Type"] for seen in runtime.seen} == {"application/x-image"}


def test_v3_takes_our_serializers_and_we_its_endpoints(run: Callable[..., list[object]], image: Path) -> None:
    assert run(3, V3) == [EXPECTED] * 3


@pytest.mark.parametrize(("version", "module"), [(2, "sagemaker.local"), (3, "sagemaker.core.local.local_session")])
def test_errors_in_local_mode_are_raised_as_errors(
    run: Callable[..., list[object]], light: Server, version: int, module: str
) -> None:
    """Local mode hands on what a container said as an answer, whatever its status."""
    answer, (status, message) = run(version, LOCAL.replace("PARENT", module), str(light.port))
    assert answer == EXPECTED
    assert status == 400
    assert "the image is not a JPEG" in message
