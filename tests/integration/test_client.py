"""byoc_vision.client asks real servers: at a URL, and as endpoints through boto3."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import numpy as np
import pytest
import requests
from botocore.config import Config
from PIL import Image
from support.images import decode, draw_scene, encode
from support.runtime import Failure, Runtime, start_runtime
from support.servers import Server, start_standin

from byoc_vision.client import PredictionError, draw, predict_classes, predict_mask, predict_probabilities, transports
from byoc_vision.errors import DataError, InputError

SCENE = draw_scene(3, width=120, height=80)[0]
JPEG = encode(SCENE, "JPEG")
PNG = encode(SCENE)
KB = 2**-10  # of a MB


@pytest.fixture(scope="module")
def cars(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Masks of what is bright, in 0 and 255."""
    with start_standin(tmp_path_factory.mktemp("cars") / "log", environment={"STANDIN_MASKS": "1"}) as server:
        server.pings_until(200)
        yield server


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A classifier that says how bright an image is."""
    with start_standin(tmp_path_factory.mktemp("light") / "log") as server:
        server.pings_until(200)
        yield server


@pytest.fixture(scope="module")
def endpoints(cars: Server, light: Server) -> Iterator[Runtime]:
    """Both as endpoints, `light` also as a serverless one."""
    servers = {"cars": cars.url, "light": light.url, "light-serverless": light.url}
    with start_runtime(servers, frozenset({"light-serverless"})) as runtime:
        yield runtime


@pytest.fixture
def runtime(endpoints: Runtime, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    """The endpoints, and an environment in which boto3 finds them."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", endpoints.url)
    monkeypatch.setattr(transports, "_FIRST_PAUSE", 0.01)
    endpoints.seen.clear()
    endpoints.failures.clear()
    endpoints.answering.set()
    return endpoints


@pytest.fixture(scope="module")
def client(endpoints: Runtime) -> Any:
    """One for all tests: making one takes boto3 a while."""
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    once = Config(retries={"total_max_attempts": 1})
    return boto3.client("sagemaker-runtime", region_name="eu-west-1", endpoint_url=endpoints.url, config=once, **keys)


def served_mask(server: Server, query: str = "", **headers: str) -> np.ndarray:
    return decode(requests.post(f"{server.url}/invocations{query}", JPEG, headers=headers, timeout=60).content)


def test_a_mask_by_url_is_the_servers_own_whatever_the_images_form(cars: Server, tmp_path: Path) -> None:
    expected = served_mask(cars)
    (tmp_path / "scene.jpg").write_bytes(JPEG)
    for form in (JPEG, tmp_path / "scene.jpg", str(tmp_path / "scene.jpg"), io.BytesIO(JPEG)):
        mask = predict_mask(cars.url, form)
        assert (mask.mode, mask.size) == ("L", (120, 80))
        assert (np.asarray(mask) == expected).all()
    drawn = decode(requests.post(f"{cars.url}/invocations", PNG, timeout=60).content)
    for form in (SCENE, Image.fromarray(SCENE)):
        assert (predict_mask(f"{cars.url}/invocations", form, as_array=True) == drawn).all()
    assert set(np.unique(expected)) == {0, 255}, "a mask of one value would show nothing"


def test_options_travel_in_the_query_or_in_the_attributes(cars: Server, runtime: Runtime) -> None:
    expected = served_mask(cars, "?threshold=0.52&tile=64&tta=flip")
    assert (expected != served_mask(cars)).any()
    options: dict[str, Any] = {"threshold": 0.52, "tile": 64, "tta": "flip", "as_array": True}
    assert (predict_mask(cars.url, JPEG, **options) == expected).all()
    assert (predict_mask("cars", JPEG, region="eu-west-1", **options) == expected).all()
    (seen,) = runtime.seen
    assert seen.path == "/endpoints/cars/invocations"
    assert seen.headers["X-Amzn-SageMaker-Custom-Attributes"] == "threshold=0.52;tile=64;tta=flip"
    assert seen.headers["Accept"] == "image/png"


def test_a_photograph_goes_out_unchanged_and_its_mask_stands_upright(runtime: Runtime, client: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encode(SCENE, "JPEG", exif=exif)
    mask = predict_mask("cars", turned, client=client)
    assert runtime.seen[0].body == turned
    assert mask.size == (80, 120)
    assert draw(turned, mask).size == (80, 120)


def test_drawn_with_its_palette_a_mask_looks_as_the_server_draws_it(cars: Server) -> None:
    theirs = np.asarray(predict_mask(cars.url, PNG, overlay=True)).astype(int)
    mask = predict_mask(cars.url, PNG, palette=True)
    assert (np.asarray(mask) == predict_mask(cars.url, PNG, as_array=True)).all(), "the same values, with colours"
    ours = np.asarray(draw(PNG, mask)).astype(int)
    assert abs(ours - theirs).max() <= 1
    assert abs(np.asarray(draw(PNG, predict_mask(cars.url, PNG))).astype(int) - theirs).max() <= 1
    assert (ours != SCENE).any()


def test_classes_come_best_first_either_way(light: Server, runtime: Runtime, client: Any) -> None:
    bright = np.full((20, 30, 3), 204, np.uint8)
    expected = [("bright", pytest.approx(0.8, abs=1e-4)), ("dark", pytest.approx(0.2, abs=1e-4))]
    assert predict_classes(light.url, bright) == expected
    assert predict_classes("light", bright, client=client) == expected
    assert predict_probabilities(light.url, bright).tolist() == pytest.approx([0.2, 0.8], abs=1e-4)
    written = draw(bright, predict_classes(light.url, bright))
    assert (np.asarray(written) != bright).any()


def test_what_the_sdks_return_is_asked_by_its_own_session(runtime: Runtime, client: Any) -> None:
    session = SimpleNamespace(sagemaker_runtime_client=client)
    predictor = SimpleNamespace(endpoint_name="cars", component_name="north", sagemaker_session=session)
    expected = predict_mask("cars", JPEG, client=client, as_array=True)
    assert (predict_mask(predictor, JPEG, as_array=True) == expected).all()
    assert runtime.seen[1].headers["X-Amzn-SageMaker-Inference-Component"] == "north"
    assert (predict_mask("cars", JPEG, session=session, as_array=True) == expected).all()


def test_a_model_behind_a_multi_model_endpoint_is_named(runtime: Runtime, client: Any) -> None:
    with pytest.raises(PredictionError, match="404"):  # this server has one model alone
        predict_mask("cars", JPEG, client=client, target_model="small/cars.tar.gz")
    assert runtime.seen[0].headers["X-Amzn-SageMaker-Target-Model"] == "small/cars.tar.gz"


def test_too_large_an_image_is_reported_or_made_smaller(cars: Server, runtime: Runtime, client: Any) -> None:
    large = draw_scene(3, width=900, height=600)[0] ^ np.random.default_rng(0).integers(0, 8, (600, 900, 3), np.uint8)
    with pytest.raises(DataError, match=r"MB as it is sent, and a request may have 0\.09"):
        predict_mask("cars", large, client=client, limit_mb=100 * KB)
    assert runtime.seen == []
    mask = predict_mask("cars", large, client=client, limit_mb=100 * KB, downsize=True, tile=600, as_array=True)
    assert mask.shape == (600, 900)
    assert set(np.unique(mask)) <= {0, 255}
    (seen,) = runtime.seen
    sent = Image.open(io.BytesIO(seen.body))
    assert len(seen.body) <= 100 * 1024
    assert sent.width < 900
    tile = int(seen.headers["X-Amzn-SageMaker-Custom-Attributes"].removeprefix("tile="))
    assert tile / sent.width == pytest.approx(600 / 900, rel=0.01), "as large a part of the image as was asked"
    assert predict_probabilities(cars.url, large, limit_mb=100 * KB, downsize=True).shape == (2, 600, 900)


def test_what_serverless_endpoints_refuse_is_reported_with_the_remedy(runtime: Runtime, client: Any) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1300, 1200, 3), np.uint8)
    with pytest.raises(PredictionError, match=r"oversize body.*limit_mb=4") as told:
        predict_classes("light-serverless", noise, client=client)
    assert told.value.status == 400
    assert predict_classes("light-serverless", noise, client=client, limit_mb=4, downsize=True)


def test_errors_of_the_model_read_the_same_either_way(cars: Server, runtime: Runtime, client: Any) -> None:
    by_url, by_name = [], []
    for target, told, where in ((cars.url, by_url, {}), ("cars", by_name, {"client": client})):
        with pytest.raises(PredictionError) as refused:
            predict_mask(target, JPEG[:300], **where)
        told.append((refused.value.status, refused.value.message))
        with pytest.raises(PredictionError) as refused:
            predict_mask(target, JPEG, threshold=2, **where)
        told.append((refused.value.status, refused.value.message))
    assert by_url == by_name
    assert [status for status, _ in by_url] == [400, 400]
    assert "cut short" in by_url[0][1]
    assert "threshold is between 0 and 1" in by_url[1][1]


def test_a_prediction_of_another_task_is_reported(light: Server) -> None:
    with pytest.raises(PredictionError, match="406"):
        predict_mask(light.url, JPEG)


@pytest.mark.parametrize(
    "failure",
    [
        Failure(429, "ModelNotReadyException", "the model is being loaded"),
        Failure(400, "ThrottlingException", "Rate exceeded"),
        Failure(503, "ServiceUnavailable", "later"),
        Failure(503, headers={"Retry-After": "0"}),
    ],
    ids=lambda failure: failure.code or "a server's own",
)
def test_what_passes_is_waited_for(runtime: Runtime, client: Any, failure: Failure) -> None:
    target = "light" if failure.code else f"{runtime.url}/endpoints/light/invocations"
    where = {"client": client} if failure.code else {}
    runtime.failures.extend([failure] * 3)
    assert predict_classes(target, JPEG, **where)
    assert len(runtime.seen) == 4
    runtime.failures.extend([failure] * 4)
    with pytest.raises(PredictionError) as told:
        predict_classes(target, JPEG, **where)
    assert told.value.status == failure.status
    assert len(runtime.seen) == 8


def test_what_does_not_pass_is_asked_once(runtime: Runtime, client: Any) -> None:
    with pytest.raises(PredictionError, match="Endpoint no-such of account 123456789012 not found"):
        predict_classes("no-such", JPEG, client=client)
    runtime.failures.append(Failure(500, message="", headers={"X-Request-Id": "abc"}))
    with pytest.raises(PredictionError, match=r"500: .*\(id abc\)"):
        predict_classes(f"{runtime.url}/endpoints/light/invocations", JPEG)
    assert len(runtime.seen) == 2


def test_a_silent_and_a_missing_server_are_reported(runtime: Runtime) -> None:
    runtime.answering.clear()
    with pytest.raises(PredictionError, match=r"did not respond within 0\.2 s; allow more with timeout"):
        predict_classes(f"{runtime.url}/endpoints/light/invocations", JPEG, timeout=0.2)
    with pytest.raises(PredictionError, match=r"timeout=… allows more time"):
        predict_classes("light", JPEG, region="eu-west-1", timeout=0.2)
    runtime.answering.set()
    with pytest.raises(PredictionError, match=r"cannot be reached: .*is the server running"):
        predict_classes("http://127.0.0.1:9", JPEG)


def test_wrong_addresses_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="neither an endpoint's name nor a URL"):
        predict_mask("localhost:8080", JPEG)
    with pytest.raises(InputError, match="http://HOST/models/NAME/invoke"):
        predict_mask("http://localhost:8080", JPEG, target_model="cars.tar.gz")
    with pytest.raises(InputError, match="a int is not an endpoint"):
        predict_mask(3, JPEG)
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    with pytest.raises(InputError, match="give region="):
        predict_mask("cars", JPEG)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(InputError, match="no AWS credentials; `aws configure`"):
        predict_mask("cars", JPEG, region="eu-west-1")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_this_machine_is_asked_without_the_proxy(light: Server, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(variable, "http://proxy.example:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert predict_classes(light.url.replace("127.0.0.1", host), JPEG)
