"""The HTTP contract, asked in-process of the app around real small models."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

import numpy as np
import pytest
import torch
from flask.testing import FlaskClient
from support.images import decode, encode, load_npy
from torch import Tensor, nn
from werkzeug.test import TestResponse

from byoc_serve.app import create_app
from byoc_serve.loader import Loader
from byoc_serve.model_service import ModelService
from byoc_serve.readiness import Readiness, State
from byoc_serve.response import CUSTOM_ATTRIBUTES
from byoc_serve.settings import Settings
from byoc_vision.errors import DataError
from byoc_vision.inference.engines.torch_engine import TorchEngine
from byoc_vision.inference.predictor import Predictor
from byoc_vision.precision import Precision

SOON = 60.0

Serve = Callable[[Predictor, Settings], FlaskClient]


def post(client: FlaskClient, body: bytes, content_type: str | None = "image/png", **headers: str) -> TestResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post("/invocations", data=body, content_type=content_type, headers=named)


def error_of(response: TestResponse) -> str:
    assert response.content_type == "application/json"
    error = response.get_json()["error"]
    assert isinstance(error, str)
    return error


def mask_of(response: TestResponse) -> np.ndarray:
    assert (response.status_code, response.content_type) == (200, "image/png")
    return decode(response.data)


class TestHealth:
    def test_ready(self, masks: FlaskClient) -> None:
        response = masks.get("/ping")
        assert (response.status_code, response.data) == (200, b"")

    def test_starting(self) -> None:
        app = create_app(Settings(), Loader(lambda: pytest.fail("never started"), Readiness()))
        response = app.test_client().get("/ping")
        assert (response.status_code, response.data) == (503, b"")
        response = post(app.test_client(), b"x")
        assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
        assert "being loaded" in error_of(response)

    def test_failed(self) -> None:
        def source() -> ModelService:
            raise DataError("there is no model")

        loader = Loader(source, Readiness())
        loader.start()
        assert loader.wait(SOON) is State.FAILED
        client = create_app(Settings(), loader).test_client()
        for response in (client.get("/ping"), post(client, b"x")):
            assert response.status_code == 500
            assert error_of(response) == "the model cannot be served: there is no model"

    def test_execution_parameters(self, masks: FlaskClient) -> None:
        response = masks.get("/execution-parameters")
        assert response.get_json() == Settings().execution_parameters()

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [("POST", "/", 405), ("GET", "/models", 404), ("GET", "/invocations", 405), ("POST", "/ping", 405)],
    )
    def test_other_paths_and_methods(self, masks: FlaskClient, method: str, path: str, status: int) -> None:
        response = masks.open(path, method=method)
        assert response.status_code == status
        assert path in error_of(response)
        assert (status == 405) == ("Allow" in response.headers)


class TestSegmentation:
    def test_a_mask_in_the_size_of_the_image_and_the_training_values(self, masks: FlaskClient, png: bytes) -> None:
        mask = mask_of(post(masks, png))
        assert mask.shape == (32, 48)
        assert [int(mask[16, column]) for column in (8, 24, 40)] == [0, 7, 200]
        assert set(np.unique(mask)) == {0, 7, 200}

    def test_json(self, masks: FlaskClient, png: bytes) -> None:
        answer = post(masks, png, Accept="application/json").get_json()
        assert answer["size"] == [32, 48]
        assert [(entry["label"], entry["value"]) for entry in answer["classes"]] == [
            ("background", 0),
            ("car", 7),
            ("tree", 200),
        ]
        assert sum(entry["share"] for entry in answer["classes"]) == pytest.approx(1, abs=1e-5)

    def test_probabilities(self, masks: FlaskClient, png: bytes) -> None:
        response = post(masks, png, Accept="application/x-npy")
        planes = load_npy(response.data)
        assert (planes.shape, planes.dtype) == ((3, 32, 48), np.float32)
        np.testing.assert_allclose(planes.sum(axis=0), 1, atol=1e-5)
        np.testing.assert_array_equal(np.array([0, 7, 200])[planes.argmax(axis=0)], mask_of(post(masks, png)))

    def test_several_images_have_no_common_png(self, masks: FlaskClient, png: bytes) -> None:
        text = base64.b64encode(png).decode()
        body = json.dumps({"instances": [text, text]}).encode()
        response = post(masks, body, "application/json")
        assert response.status_code == 406
        assert "2 masks" in error_of(response)
        answers = post(masks, body, "application/json", Accept="application/json").get_json()
        assert answers[0] == answers[1] == post(masks, png, Accept="application/json").get_json()


class TestClassification:
    def test_every_class_best_first(self, labels: FlaskClient, image: np.ndarray) -> None:
        blue = np.zeros_like(image)
        blue[..., 2] = 255
        answer = post(labels, encode(blue)).get_json()
        assert answer[0]["label"] == "tree"
        assert len(answer) == 3
        scores = [entry["score"] for entry in answer]
        assert scores == sorted(scores, reverse=True)
        assert sum(scores) == pytest.approx(1, abs=1e-5)

    def test_every_form_says_the_same(self, labels: FlaskClient, png: bytes) -> None:
        ranked = {entry["label"]: entry["score"] for entry in post(labels, png).get_json()}
        vector = post(labels, png, Accept="application/json; view=vector").get_json()
        line = json.loads(post(labels, png, Accept="application/jsonlines").data)
        array = load_npy(post(labels, png, Accept="application/x-npy").data)
        assert vector == line["prediction"] == [ranked[name] for name in ("background", "car", "tree")]
        np.testing.assert_allclose(array, vector, atol=1e-6)

    def test_a_form_of_files_is_answered_in_order(self, labels: FlaskClient, image: np.ndarray) -> None:
        files = [(io.BytesIO(encode(np.full_like(image, shade))), f"{shade}.png") for shade in (0, 255)]
        response = labels.post("/invocations", data={"image": files})
        assert [len(answer) for answer in response.get_json()] == [3, 3]


class TestBadInput:
    @pytest.mark.parametrize(
        ("body", "content_type", "status"),
        [
            (b"", "image/png", 400),
            (b"hello", "image/png", 400),
            (b"hello", "text/plain", 415),
            (b"hello", None, 415),
            (b"{", "application/json", 400),
        ],
    )
    def test_is_an_error(self, labels: FlaskClient, body: bytes, content_type: str | None, status: int) -> None:
        response = post(labels, body, content_type)
        assert response.status_code == status
        assert error_of(response)

    def test_a_format_that_the_model_does_not_offer(self, labels: FlaskClient, png: bytes) -> None:
        response = post(labels, png, Accept="image/png")
        assert response.status_code == 406
        assert "application/json" in error_of(response)

    def test_the_accept_header_is_checked_before_the_body(self, labels: FlaskClient) -> None:
        assert post(labels, b"hello", "text/plain", Accept="image/png").status_code == 406

    def test_limits(self, serve: Serve, classifier: Predictor, image: np.ndarray) -> None:
        client = serve(classifier, Settings(max_payload_mb=1, max_megapixels=1, queue_length=2))
        assert post(client, bytes(2**20 + 1)).status_code == 413
        assert post(client, encode(np.zeros((1001, 1000, 3), np.uint8))).status_code == 413
        text = base64.b64encode(encode(image)).decode()
        response = post(client, json.dumps({"instances": [text] * 3}).encode(), "application/json")
        assert response.status_code == 413
        assert "3 images" in error_of(response)

    def test_chunks_are_counted(self, serve: Serve, classifier: Predictor) -> None:
        client = serve(classifier, Settings(max_payload_mb=1))
        stream = io.BytesIO(bytes(2**20 + 1))
        response = client.post("/invocations", input_stream=stream, environ_overrides={"wsgi.input_terminated": True})
        assert response.status_code == 413
        assert stream.read() == b""


class TestCustomAttributes:
    @pytest.mark.parametrize("text", ["", "trace-id=1; who=me", "x" * 1024])
    def test_come_back(self, labels: FlaskClient, png: bytes, text: str) -> None:
        response = post(labels, png, **{CUSTOM_ATTRIBUTES: text})
        assert (response.status_code, response.headers[CUSTOM_ATTRIBUTES]) == (200, text)

    def test_are_not_made_up(self, labels: FlaskClient, png: bytes) -> None:
        assert CUSTOM_ATTRIBUTES not in post(labels, png).headers

    @pytest.mark.parametrize("text", ["x" * 1025, "über", "tab\tbed"])
    def test_of_other_kinds_are_refused(self, labels: FlaskClient, png: bytes, text: str) -> None:
        response = post(labels, png, **{CUSTOM_ATTRIBUTES: text})
        assert response.status_code == 400
        assert CUSTOM_ATTRIBUTES not in response.headers


class Picky(nn.Module):
    """A classifier that stands still until its gate is open, and breaks on white images."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.busy = Event(), Event()
        self.gate.set()

    def forward(self, images: Tensor) -> Tensor:
        self.busy.set()
        assert self.gate.wait(SOON)
        means = images.mean(dim=(2, 3))  # [N, 3]
        if (means.min(dim=1).values > 2).any():  # white, normalised
            raise RuntimeError("out of some memory")
        return means


@pytest.fixture
def picky(classifier: Predictor) -> Predictor:
    config, cpu = classifier.config, torch.device("cpu")
    return Predictor(config, TorchEngine(Picky().eval(), config, cpu, Precision(torch.float32, "cpu")))


class TestLoad:
    def test_together_as_alone(self, masks: FlaskClient, image: np.ndarray) -> None:
        images = [np.roll(image, shift, axis=1) for shift in range(32)]
        alone = [mask_of(post(masks, encode(rgb))) for rgb in images]

        def ask(rgb: np.ndarray) -> np.ndarray:
            return mask_of(post(masks.application.test_client(), encode(rgb)))

        with ThreadPoolExecutor(32) as pool:
            together = list(pool.map(ask, images))
        np.testing.assert_array_equal(together, alone)

    def test_a_full_queue_says_try_again(self, serve: Serve, picky: Predictor, png: bytes) -> None:
        client = serve(picky, Settings(queue_length=1))
        with ThreadPoolExecutor(1) as pool, standing_still(picky) as busy:
            first = pool.submit(post, client.application.test_client(), png)
            assert busy.wait(SOON)
            response = post(client, png)
        assert first.result().status_code == 200
        assert (response.status_code, response.headers["Retry-After"]) == (503, "1")

    def test_a_request_past_its_deadline_gets_504(self, serve: Serve, picky: Predictor, png: bytes) -> None:
        client = serve(picky, Settings(request_timeout=1))
        with standing_still(picky):
            assert post(client, png).status_code == 504
        assert post(client, png).status_code == 200

    def test_an_internal_error_has_an_id_that_is_in_the_log(
        self, serve: Serve, picky: Predictor, png: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        client = serve(picky, Settings())
        response = post(client, encode(np.full((8, 8, 3), 255, np.uint8)))
        assert response.status_code == 500
        assert f"error {response.get_json()['id']} in POST /invocations" in caplog.text
        assert "out of some memory" in caplog.text
        assert "memory" not in response.get_data(as_text=True)
        assert post(client, png).status_code == 200

    def test_one_bad_image_hurts_its_own_caller_alone(self, serve: Serve, picky: Predictor, png: bytes) -> None:
        client = serve(picky, Settings())
        white = encode(np.full((8, 8, 3), 255, np.uint8))

        def ask(body: bytes) -> int:
            return post(client.application.test_client(), body).status_code

        with ThreadPoolExecutor(8) as pool:
            with standing_still(picky) as busy:
                first = pool.submit(ask, png)
                assert busy.wait(SOON)
                others = [pool.submit(ask, body) for body in (png, white, png, png)]
            assert [first.result(SOON), *(other.result(SOON) for other in others)] == [200, 200, 500, 200, 200]

    def test_a_request_to_a_stopped_server_gets_503(self, classifier: Predictor, png: bytes) -> None:
        loader = Loader(lambda: ModelService(classifier, Settings()), Readiness())
        loader.start()
        assert loader.wait(SOON) is State.READY
        loader.stop()
        response = post(create_app(Settings(), loader).test_client(), png)
        assert response.status_code == 503
        assert "stopping" in error_of(response)


@contextmanager
def standing_still(predictor: Predictor) -> Iterator[Event]:
    """While the model stands still; the event given is set once it was asked something."""
    net = predictor.engine.net
    assert isinstance(net, Picky)
    net.busy.clear()
    net.gate.clear()
    try:
        yield net.busy
    finally:
        net.gate.set()
