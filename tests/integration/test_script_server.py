"""`byoc-vision serve` with a user's own script: as a process, with real images and all that goes wrong."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import requests
from support.images import draw_noise, encode
from support.scripts import write_script
from support.servers import Server, fork, start
from support.waiting import wait_until

pytestmark = pytest.mark.timeout(300)

SCRIPT = """
import io, json, os, time
import numpy as np
from PIL import Image
from byoc_vision.serving import encode_mask

def model_fn(model_dir):
    return {"threshold": 128, "process": os.getpid()}

def input_fn(request_body, content_type):
    if content_type == "a/hang":
        time.sleep(1000)
    return np.asarray(Image.open(io.BytesIO(request_body)).convert("L"))

def predict_fn(data, model):
    return (data >= model["threshold"]).astype(np.uint8), model

def output_fn(prediction, accept):
    mask, model = prediction
    if accept == "image/png":
        return encode_mask(mask), accept
    return json.dumps({"share": float(mask.mean()), "process": model["process"]})
"""


WORKERS = {"SAGEMAKER_MODEL_SERVER_WORKERS": "2", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("script")
    write_script(folder, SCRIPT)
    with start(folder, folder / "log", WORKERS | {"LOG_FORMAT": "json"}) as server:
        server.pings_until(200)
        yield server


def test_an_image_becomes_a_mask(server: Server) -> None:
    image = draw_noise(30, 40)
    response = server.post(encode(image), "image/png", Accept="image/png")
    assert response.headers["Content-Type"] == "image/png"
    from PIL import Image

    expected = np.asarray(Image.fromarray(image).convert("L")) >= 128
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(response.content))), expected)


def test_requests_are_counted_and_logged(server: Server) -> None:
    response = server.post(encode(draw_noise(8, 8)), "image/png", X_Request_Id="of-this-test")
    assert response.headers["X-Request-Id"] == "of-this-test"
    assert 'byoc_requests_total{route="/invocations",status="200"}' in requests.get(f"{server.url}/metrics").text
    wait_until(lambda: "of-this-test" in server.log.read_text(), server.log.read_text)
    (line,) = [json.loads(line) for line in server.log.read_text().splitlines() if "of-this-test" in line]
    assert (line["status"], line["batch_size"]) == (200, 1)


def test_a_body_that_is_not_an_image_is_refused(server: Server) -> None:
    response = server.post(b"no image", "image/png")
    assert response.status_code == 400
    assert "UnidentifiedImageError" in response.json()["error"]


def test_a_call_that_hangs_costs_one_worker_which_is_replaced(tmp_path: Path) -> None:
    write_script(tmp_path, SCRIPT)

    def status() -> int | None:
        try:
            return server.post(encode(draw_noise(8, 8)), "image/png").status_code
        except requests.ConnectionError:  # the process that ends had accepted it
            return None

    with fork(tmp_path, tmp_path / "log", WORKERS | {"SAGEMAKER_MODEL_SERVER_TIMEOUT": "1"}) as server:
        server.pings_until(200)
        assert server.post(b"x", "a/hang").status_code == 504
        wait_until(lambda: "its process ends" in server.log.read_text(), server.log.read_text)
        server.pings_until(200)
        wait_until(lambda: status() == 200, server.log.read_text)  # a slow machine may need more than the second


def test_a_call_in_a_requests_own_thread_that_hangs(tmp_path: Path) -> None:
    write_script(
        tmp_path, SCRIPT + "BATCHING = True\npredict_fn = lambda data, model: [(mask, model) for mask in data]\n"
    )
    with fork(tmp_path, tmp_path / "log", {"REQUEST_TIMEOUT": "1"}) as server:
        server.pings_until(200)
        with pytest.raises(requests.ConnectionError):
            server.post(b"x", "a/hang")
        assert "its process ends" in server.log.read_text()
        server.pings_until(200)
        wait_until(  # a slow machine may need more than the second
            lambda: server.post(encode(draw_noise(8, 8)), "image/png").status_code == 200, server.log.read_text
        )


def test_accepted_requests_are_finished_when_the_server_stops(tmp_path: Path) -> None:
    gate, started = tmp_path / "gate", tmp_path / "started"
    gate.touch()
    write_script(
        tmp_path,
        f"""
        import os, pathlib, time
        def model_fn(model_dir): return 0
        def transform_fn(model, data, content_type, accept):
            pathlib.Path({str(started)!r}).touch()
            while os.path.exists({str(gate)!r}): time.sleep(0.01)
            return "finished"
        """,
    )
    with fork(tmp_path, tmp_path / "log") as server, ThreadPoolExecutor() as pool:
        server.pings_until(200)
        answer = pool.submit(server.post, b"x", "text/plain")
        wait_until(started.exists, server.log.read_text)
        server.terminate()
        wait_until(lambda: "Handling signal: term" in server.log.read_text(), server.log.read_text)
        gate.unlink()
        assert answer.result().text == "finished"
        assert server.exit_status() == 0


def test_a_script_that_cannot_be_loaded_ends_the_server(tmp_path: Path) -> None:
    write_script(tmp_path, "def model_fn(model_dir):\n    raise KeyError('weights')\n")
    with fork(tmp_path, tmp_path / "log") as server:
        assert server.exit_status() == 2
        log = server.log.read_text()
    assert "the script cannot be loaded: KeyError: 'weights'" in log
    assert "inference.py, line 2" in log


def test_a_script_that_the_environment_names_and_that_is_missing(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with fork(tmp_path, tmp_path / "log", {"SAGEMAKER_PROGRAM": "mine.py"}) as server:
        assert server.exit_status() == 2
    assert "SAGEMAKER_PROGRAM=mine.py is not in" in server.log.read_text()
    assert os.listdir(tmp_path / "model") == []
