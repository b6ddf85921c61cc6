"""What the server does where things go badly: a model that is slow, a GPU that is lost, the end under load."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import requests
from support.images import encode
from support.servers import READY_LIMIT, Server, start_standin
from support.waiting import wait_until

from byoc_vision.errors import ResourceError

pytestmark = pytest.mark.timeout(300)

GREY = encode(np.full((8, 8, 3), 51, np.uint8))
WHITE = encode(np.full((8, 8, 3), 255, np.uint8))
LOST = "CUDA error: an illegal memory access was encountered"
HEAD = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n"


def ask(server: Server, image: bytes) -> requests.Response:
    return server.post(image, "image/png")


def figures(server: Server) -> dict[str, float]:
    """What /metrics says, by name and labels."""
    text = requests.get(f"{server.url}/metrics", timeout=READY_LIMIT).text
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def wait_for(server: Server, name: str, value: float) -> None:
    wait_until(lambda: figures(server).get(name) == value, lambda: (figures(server), server.log.read_text()))


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """While this file exists, the model is busy with its first batch."""
    gate = tmp_path / "gate"
    gate.touch()
    return gate


def test_a_lost_gpu_answers_all_requests_and_ends_the_process(tmp_path: Path, gate: Path) -> None:
    """Imitated: a machine without a GPU cannot lose one."""
    environment = {"BATCH_SIZE": "1"}
    with start_standin(tmp_path / "log", gate, LOST, environment) as server, ThreadPoolExecutor(3) as pool:
        server.pings_until(200)
        first = pool.submit(ask, server, WHITE)
        wait_for(server, "byoc_batch_size_count", 1)
        others = [pool.submit(ask, server, GREY) for _ in range(2)]
        wait_for(server, "byoc_queue_depth", 2)
        gate.unlink()
        for answer in (first, *others):
            response = answer.result()
            assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
            assert "the GPU failed: CUDA error: an illegal memory access" in response.json()["error"]
        assert server.exit_status() == ResourceError.exit_code
    assert "so that the platform starts another" in server.log.read_text()


def test_sigterm_with_a_long_batch_under_way_and_more_in_the_queue(tmp_path: Path, gate: Path) -> None:
    environment = {"BATCH_SIZE": "2"}
    with start_standin(tmp_path / "log", gate, environment=environment) as server, ThreadPoolExecutor(6) as pool:
        server.pings_until(200)
        answers = [pool.submit(ask, server, GREY)]
        wait_for(server, "byoc_batch_size_count", 1)
        answers += [pool.submit(ask, server, GREY) for _ in range(5)]
        wait_for(server, "byoc_queue_depth", 5)
        server.terminate()
        wait_until(lambda: "Handling signal: term" in server.log.read_text())
        gate.unlink()
        assert [answer.result().status_code for answer in answers] == [200] * 6
        assert server.exit_status() == 0


def test_a_client_that_hung_up_is_not_computed(tmp_path: Path, gate: Path) -> None:
    environment = {"BATCH_SIZE": "1", "LOG_FORMAT": "json"}
    with start_standin(tmp_path / "log", gate, environment=environment) as server:
        server.pings_until(200)
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(ask, server, GREY)
            wait_for(server, "byoc_batch_size_count", 1)
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                connection.sendall(HEAD % len(GREY) + GREY)
                wait_for(server, "byoc_queue_depth", 1)
            gate.unlink()
            assert first.result().status_code == 200
        wait_for(server, 'byoc_requests_total{route="/invocations",status="499"}', 1)
        assert figures(server)["byoc_batch_size_count"] == 1


def test_every_worker_reports_for_all_and_every_line_is_json(tmp_path: Path) -> None:
    """Two workers, and requests that come with ids and without."""
    with start_standin(tmp_path / "log", environment={"SERVER_WORKERS": "2", "LOG_FORMAT": "json"}) as server:
        server.pings_until(200)
        asked = [server.post(GREY, "image/png", X_Request_Id=f"mine-{number}") for number in range(20)]
        refused = server.post(b"nonsense", "image/png", X_Amzn_SageMaker_Inference_Id="bad")
        seen = [figures(server) for _ in range(10)]  # from either worker
    assert [response.headers["X-Request-Id"] for response in asked] == [f"mine-{number}" for number in range(20)]
    assert {figure['byoc_requests_total{route="/invocations",status="200"}'] for figure in seen} == {20}
    assert {figure['byoc_requests_total{route="/invocations",status="400"}'] for figure in seen} == {1}
    assert {figure["byoc_batch_size_sum"] for figure in seen} == {20}
    assert {figure["byoc_model_ready"] for figure in seen} == {1}
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert {line["logger"] for line in lines} >= {"gunicorn.error", "byoc_serve.loader", "byoc_serve.request_log"}
    requests_ = {line["id"]: line for line in lines if line["message"] == "request"}
    line = requests_["mine-7"]
    assert (line["method"], line["path"], line["status"], line["batch_size"]) == ("POST", "/invocations", 200, 1)
    assert (line["bytes_in"], line["bytes_out"]) == (len(GREY), len(asked[7].content))
    assert 0 <= line["queue_ms"] <= line["ms"]
    assert (requests_["bad"]["status"], requests_["bad"]["error"]) == (400, refused.json()["error"])
