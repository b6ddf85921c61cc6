"""Two jobs and a server in the image, on real images: what they leave, what comes out, and how it ends.

No other file takes these jobs: `make test-container-fast` runs files side by side, and each would train them again.
"""

from __future__ import annotations

import io
import json
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image
from support.containers import REPOSITORY, Container, Endpoint, Job

Serve = Callable[..., Endpoint]


@pytest.fixture(scope="session")
def car(images: Path) -> Path:
    """A car of 1918 x 1280 pixels that no model has seen."""
    return min((images / "carvana/validation").glob("*.jpg"))


@pytest.fixture(scope="session")
def car_mask(images: Path, car: Path) -> np.ndarray:
    with Image.open(images / f"carvana/validation_masks/{car.stem}_mask.gif") as mask:
        return np.array(mask)


def dice(mask: np.ndarray, target: np.ndarray) -> float:
    return float(2 * np.sum((mask > 0) & (target > 0)) / (np.sum(mask > 0) + np.sum(target > 0)))


def test_segmentation_learns(segmentation_job: Job) -> None:
    assert segmentation_job.metrics["validation:dice"] > 0.85
    assert {path.name for path in segmentation_job.model.iterdir()} >= {"model.json", "model.safetensors"}
    assert not (segmentation_job.folder / "output/failure").exists()
    left = segmentation_job.folder / "output/data"
    assert {"metrics.json", "predictions.csv", "confusion_matrix.csv"} <= {path.name for path in left.iterdir()}
    page = (left / "report.html").read_text()
    assert page.count("data:image/jpeg;base64,") > 12, "galleries"
    assert json.loads((left / "metrics.json").read_text())["run"]["revision"], "the image knows its commit"


def test_classification_learns_from_pretrained_weights(classification_job: Job) -> None:
    assert classification_job.metrics["validation:accuracy"] > 0.65  # chance: 0.33


def test_a_mask_of_the_size_and_values_of_the_truth(car_server: Endpoint, car: Path, car_mask: np.ndarray) -> None:
    answer = car_server.ask(car.read_bytes(), "image/png")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "image/png"
    mask = np.array(Image.open(io.BytesIO(answer.content)))
    assert mask.shape == (1280, 1918)
    assert set(np.unique(mask)) == {0, 1}
    assert dice(mask, car_mask) > 0.8


def test_every_class_best_first(serve: Serve, classification_job: Job, clothes: dict[str, Path]) -> None:
    """And as often right as the job reported."""
    endpoint = serve(classification_job.model, "--env", "PRECISION=float32")
    images = list(clothes["validation"].rglob("*.jpg"))
    right = 0
    for path in images:
        answer = endpoint.ask(path.read_bytes(), "application/json")
        assert answer.status_code == 200
        classes = answer.json()
        assert {entry["label"] for entry in classes} == {"dress", "hat", "shoes"}
        scores = [entry["score"] for entry in classes]
        assert scores == sorted(scores, reverse=True)
        assert sum(scores) == pytest.approx(1, abs=1e-4)
        right += classes[0]["label"] == path.parent.name
    assert right / len(images) == pytest.approx(classification_job.metrics["validation:accuracy"])


def test_a_locked_down_container(serve: Serve, segmentation_job: Job, car: Path) -> None:
    """Little shared memory, a read-only file system, another port; the model is mounted read-only in any case."""
    options = ("--read-only", "--tmpfs", "/tmp", "--shm-size", "64m", "--env", "SAGEMAKER_BIND_TO_PORT=9090")
    endpoint = serve(segmentation_job.model, *options, port=9090)
    assert endpoint.ask(car.read_bytes(), "image/png").status_code == 200
    assert requests.get(f"{endpoint.url}/page/page.js", timeout=60).status_code == 200, "the image has the page's files"


def test_a_bad_image_hurts_its_own_caller_alone(car_server: Endpoint, car: Path) -> None:
    refused = car_server.ask(car.read_bytes()[:2000], "image/png")
    assert refused.status_code == 400
    assert refused.json()["error"]
    assert car_server.ask(car.read_bytes(), "image/png").status_code == 200


def test_without_a_network(start: Callable[..., Container], image: str, segmentation_job: Job) -> None:
    """Network isolation: the server comes up, and says so from the inside."""
    mount = f"{segmentation_job.model}:/opt/ml/model:ro"
    container = start("--network", "none", "--volume", mount, image, "serve")
    ask = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8080/ping', timeout=2).status)"
    command = ("exec", container.id, "python", "-c", ask)
    container.wait_until(lambda: container.docker.run(*command, check=False).stdout.strip() == "200")


def test_a_missing_model_is_named(start: Callable[..., Container], image: str, tmp_path: Path) -> None:
    container = start("--volume", f"{tmp_path}:/opt/ml/model:ro", image, "serve")
    assert container.exit_status() != 0
    assert "/opt/ml/model" in container.logs


def test_the_entry_script_is_process_1_and_reaps_orphans(car_server: Endpoint) -> None:
    container, docker = car_server.container, car_server.container.docker
    command = docker.output("exec", container.id, "cat", "/proc/1/cmdline").split("\0")
    assert command[1].endswith("/serve")
    docker.run("exec", container.id, "sh", "-c", "(sleep 0.2 &)")
    processes = ("exec", container.id, "sh", "-c", "cat /proc/[0-9]*/stat")
    container.wait_until(lambda: "(sleep)" not in docker.output(*processes))  # a zombie would keep its name
    assert not re.search(r"\) Z ", docker.output(*processes))


@contextmanager
def half_sent_request(endpoint: Endpoint, body: bytes) -> Iterator[Callable[[], bytes]]:
    """A request that the server has begun to handle. What is yielded sends the rest and returns the answer."""
    host, port = endpoint.url.removeprefix("http://").split(":")
    head = (
        f"POST /invocations HTTP/1.1\r\nHost: {host}\r\nContent-Type: image/jpeg\r\nAccept: image/png\r\n"
        f"Connection: close\r\nExpect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(head.encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 100 Continue")
        connection.sendall(body[: len(body) // 2])

        def finish() -> bytes:
            connection.sendall(body[len(body) // 2 :])
            return b"".join(iter(lambda: connection.recv(65536), b""))

        yield finish


def test_sigterm_finishes_the_requests_in_flight(serve: Serve, segmentation_job: Job, car: Path) -> None:
    endpoint = serve(segmentation_job.model)
    image = car.read_bytes()
    with half_sent_request(endpoint, image) as first, half_sent_request(endpoint, image) as second:
        endpoint.container.signal("TERM")
        endpoint.container.wait_until(lambda: "Handling signal: term" in endpoint.container.logs)
        for finish in (first, second):
            head, _, answer = finish().partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert Image.open(io.BytesIO(answer)).size == (1918, 1280)
    assert endpoint.container.exit_status() == 0


def test_sigterm_ends_an_idle_server(serve: Serve, segmentation_job: Job) -> None:
    """SageMaker kills an endpoint's container 30 s after SIGTERM."""
    assert serve(segmentation_job.model).container.stop(seconds=30) == 0


def test_predict_sh(car_server: Endpoint, car: Path, tmp_path: Path) -> None:
    port = car_server.url.rpartition(":")[2]
    script = REPOSITORY / "local_test/predict.sh"
    mask = subprocess.run(["sh", script, car, "image/png", port], check=True, capture_output=True).stdout
    assert Image.open(io.BytesIO(mask)).size == (1918, 1280)
    not_a_image = tmp_path / "text.jpg"
    not_a_image.write_text("text")
    refused = subprocess.run(["sh", script, not_a_image, "*/*", port], capture_output=True, text=True)
    assert refused.returncode != 0
    assert "error" in refused.stdout
