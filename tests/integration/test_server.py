"""The server as a user starts it: a process, a port, real images, and all that goes wrong."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
import pytest
import requests
from support.images import decode, encode, handmade_png, load_npy, npy
from support.servers import READY_LIMIT, Server, fork, save_classifier, save_segmenter, start

from byoc_vision.inference.predictor import Classification, Predictor, Segmentation

pytestmark = pytest.mark.timeout(300)

SHARE_OF_PIXELS = 0.99  # that agree alone and in a batch: in bfloat16 the order of sums shows
TOLERANCE = 0.02  # of a probability, likewise

REQUEST = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"  # less its end


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serve")


@pytest.fixture(scope="module")
def masks(folder: Path) -> Iterator[Server]:
    """A segmentation model, in a folder nested one deep as archives often are.

    In float32: the pixels of an untrained model are near the threshold, and bfloat16 moves more of them across.
    """
    save_segmenter(folder / "masks/model/nested", for_cpus=True)
    with start(folder / "masks", folder / "masks.log", {"PRECISION": "float32"}) as server:
        server.pings_until(200)
        yield server


@pytest.fixture(scope="module")
def labels(folder: Path) -> Iterator[Server]:
    """A classification model, and little patience with large bodies."""
    save_classifier(folder / "labels/model", for_cpus=True)
    with fork(folder / "labels", folder / "labels.log", {"MAX_PAYLOAD_MB": "1"}) as server:
        server.pings_until(200)
        yield server


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """A drawn scene, uint8 [90, 120, 3]."""
    return draw(seed=0)


def draw(seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    scene = np.tile(np.linspace(40, 200, 120, dtype=np.uint8)[None, :, None], (90, 1, 3))
    for _ in range(4):
        colour = tuple(int(value) for value in random.integers(0, 256, 3))
        centre = (int(random.integers(0, 120)), int(random.integers(0, 90)))
        scene = cv2.circle(np.ascontiguousarray(scene), centre, int(random.integers(8, 30)), colour, thickness=-1)
    return scene


def same_mask(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and bool(np.mean(one == other) >= SHARE_OF_PIXELS)


class TestContract:
    def test_ping_and_execution_parameters(self, masks: Server) -> None:
        response = requests.get(f"{masks.url}/ping", timeout=READY_LIMIT)
        assert (response.status_code, response.content) == (200, b"")
        parameters = requests.get(f"{masks.url}/execution-parameters", timeout=READY_LIMIT).json()
        assert parameters["MaxConcurrentTransforms"] * parameters["MaxPayloadInMB"] <= 100

    def test_custom_attributes_come_back(self, masks: Server, image: np.ndarray) -> None:
        name = "X-Amzn-SageMaker-Custom-Attributes"
        response = masks.post(encode(image), "image/png", **{name: "trace=1"})
        assert (response.status_code, response.headers[name]) == (200, "trace=1")

    def test_idle_clients_block_no_request(self, masks: Server, image: np.ndarray) -> None:
        with ExitStack() as stack:
            for _ in range(300):
                stack.enter_context(socket.create_connection(("127.0.0.1", masks.port)))
            # With a thread for each of them, as gunicorn has it, this would wait until their time is up.
            assert masks.post(encode(image), "image/png").status_code == 200

    def test_a_client_that_never_closes_blocks_no_request(self, masks: Server) -> None:
        request = b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        with ExitStack() as stack:
            for _ in range(40):
                connection = stack.enter_context(socket.create_connection(("127.0.0.1", masks.port)))
                connection.sendall(request)
            # With 2 s for each of them, as gunicorn has it, this would take longer than it may.
            assert requests.get(f"{masks.url}/ping", timeout=30).status_code == 200


class TestForms:
    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"])
    @pytest.mark.parametrize("content_type", ["image/{}", "application/x-image", None])
    def test_images(self, masks: Server, image: np.ndarray, kind: str, content_type: str | None) -> None:
        named = content_type and content_type.format(kind.lower())
        response = masks.post(encode(image, kind), named)
        assert (response.status_code, response.headers["Content-Type"]) == (200, "image/png")
        mask = decode(response.content)
        assert (mask.shape, mask.dtype) == ((90, 120), np.uint8)
        assert set(np.unique(mask)) <= {0, 255}

    def test_odd_modes_and_orientation(self, masks: Server, image: np.ndarray) -> None:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        for content in (
            encode(grey),
            encode(grey.astype(np.uint16) * 256),
            encode(np.dstack([image, grey])),
        ):
            assert decode(masks.post(content, "image/png").content).shape == (90, 120)
        exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"  # turned by a quarter
        assert decode(masks.post(encode(image, "JPEG", exif=exif), "image/jpeg").content).shape == (120, 90)

    def test_arrays_forms_and_json_give_the_same_as_an_image(self, masks: Server, image: np.ndarray) -> None:
        content = encode(image)
        expected = decode(masks.post(content, "image/png").content)
        text = base64.b64encode(content).decode()
        upload = requests.post(f"{masks.url}/invocations", files={"image": content}, timeout=READY_LIMIT)
        for response in (
            masks.post(npy(image), "application/x-npy"),
            masks.post(json.dumps({"image": text}).encode(), "application/json"),
            masks.post(json.dumps({"instances": [{"b64": text}]}).encode(), "application/json"),
            masks.post(text.encode(), "image/jpeg"),
            masks.post(npy((image / 255).astype(np.float32)), "application/x-npy"),
            masks.post(json.dumps({"image": image.tolist()}).encode(), "application/json"),
            upload,
        ):
            assert same_mask(decode(response.content), expected)

    def test_formats_of_a_mask(self, masks: Server, image: np.ndarray) -> None:
        content = encode(image)
        mask = decode(masks.post(content, "image/png").content)
        answer = masks.post(content, "image/png", Accept="application/json").json()
        assert answer["size"] == [90, 120]
        assert [entry["value"] for entry in answer["classes"]] == [0, 255]
        assert answer["classes"][1]["share"] == pytest.approx(np.mean(mask == 255), abs=1 - SHARE_OF_PIXELS)
        planes = load_npy(masks.post(content, "image/png", Accept="application/x-npy").content)
        assert planes.shape == (2, 90, 120)
        assert same_mask(np.where(planes[1] > 0.5, 255, 0), mask)
        line = masks.post(content, "image/png", Accept="application/jsonlines")
        assert line.headers["Content-Type"] == "application/jsonlines"
        assert json.loads(line.text)["size"] == [90, 120]

    def test_formats_of_classes(self, labels: Server, image: np.ndarray) -> None:
        content = encode(image)
        ranked = labels.post(content, "image/png").json()
        assert {entry["label"] for entry in ranked} == {"dress", "hat", "shoes"}
        assert ranked == sorted(ranked, key=lambda entry: -entry["score"])
        scores = {entry["label"]: entry["score"] for entry in ranked}
        vector = labels.post(content, "image/png", Accept="application/json; view=vector").json()
        line = json.loads(labels.post(content, "image/png", Accept="application/jsonlines").text)
        array = load_npy(labels.post(content, "image/png", Accept="application/x-npy").content)
        for answer in (vector, line["prediction"], array):
            np.testing.assert_allclose(answer, list(map(scores.get, ("dress", "hat", "shoes"))), atol=TOLERANCE)

    def test_several_images_get_a_list(self, labels: Server, image: np.ndarray) -> None:
        response = labels.post(npy(np.stack([image, image])), "application/x-npy")
        assert [len(answer) for answer in response.json()] == [3, 3]

    def test_the_served_answer_is_the_predictor_s(
        self, masks: Server, labels: Server, folder: Path, image: np.ndarray
    ) -> None:
        (mask,) = Predictor.load(folder / "masks/model", precision="float32").predict([image])
        assert isinstance(mask, Segmentation)
        assert same_mask(decode(masks.post(encode(image), "image/png").content), mask.mask)
        (classes,) = Predictor.load(folder / "labels/model").predict([image])
        assert isinstance(classes, Classification)
        served = labels.post(encode(image), "image/png", Accept="application/json; view=vector").json()
        np.testing.assert_allclose(served, classes.probabilities, atol=TOLERANCE)


class TestBadInput:
    @pytest.mark.parametrize(
        ("body", "content_type", "status", "message"),
        [
            (b"", "image/jpeg", 400, "no body"),
            (b"hello", "image/jpeg", 400, "begins with the text 'hello'"),
            (b"hello", None, 415, "-H 'Content-Type: image/jpeg'"),
            (b"a,b", "text/csv", 415, "image/jpeg"),
            (handmade_png((60_000, 60_000, 8, 2), bytes(1000)), "image/png", 413, "60000"),
            (b'{"image": "https://example.com/a.jpg"}', "application/json", 400, "not fetched"),
            (bytes(2**20 + 1), "image/jpeg", 413, "1,048,576 bytes"),
            (bytes(30 * 2**20), "image/jpeg", 413, "1,048,576 bytes"),
        ],
    )
    def test_is_an_error(
        self, labels: Server, body: bytes, content_type: str | None, status: int, message: str
    ) -> None:
        response = labels.post(body, content_type)
        assert response.status_code == status
        assert response.headers["Content-Type"] == "application/json"
        assert message in response.json()["error"]

    def test_truncated_images(self, labels: Server, image: np.ndarray) -> None:
        for kind in ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"):
            content = encode(image, kind)
            response = labels.post(content[: len(content) // 2], f"image/{kind.lower()}")
            assert response.status_code == 400, kind
            assert response.json()["error"]

    def test_an_unsupported_response_format(self, labels: Server, image: np.ndarray) -> None:
        response = labels.post(encode(image), "image/png", Accept="image/png")
        assert response.status_code == 406
        assert "application/json" in response.json()["error"]

    def test_a_body_in_chunks(self, labels: Server, image: np.ndarray) -> None:
        content = encode(image)
        pieces = [content[start : start + 1000] for start in range(0, len(content), 1000)]
        url, headers = f"{labels.url}/invocations", {"Content-Type": "image/png"}
        assert requests.post(url, data=iter(pieces), headers=headers, timeout=READY_LIMIT).status_code == 200
        too_many = (bytes(2**16) for _ in range(20))
        assert requests.post(url, data=too_many, headers=headers, timeout=READY_LIMIT).status_code == 413

    def test_chunks_that_are_not_valid(self, labels: Server) -> None:
        answer = talk(labels, b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n")
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b'{"error":' in answer

    def test_a_body_that_ends_early(self, labels: Server) -> None:
        assert b"ended after 5 of the 100 bytes" in talk(labels, b"Content-Length: 100\r\n\r\nhello")

    def test_none_of_it_is_an_internal_error(self, labels: Server) -> None:
        assert "Traceback" not in labels.log.read_text()
        assert labels.ping() == 200


def talk(server: Server, end_of_request: bytes) -> bytes:
    """Say something that no HTTP library would say, close our side, and hear the answer out."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=READY_LIMIT) as connection:
        connection.sendall(REQUEST + end_of_request)
        connection.shutdown(socket.SHUT_WR)
        return hear_out(connection)


def hear_out(connection: socket.socket) -> bytes:
    heard = b""
    while piece := connection.recv(2**16):
        heard += piece
    return heard


class TestLoad:
    def test_together_as_alone(self, masks: Server, labels: Server) -> None:
        contents = [encode(draw(seed)) for seed in range(32)]

        def ask_both(content: bytes) -> tuple[np.ndarray, list[float]]:
            mask = masks.post(content, "image/png")
            vector = labels.post(content, "image/png", Accept="application/json; view=vector")
            assert (mask.status_code, vector.status_code) == (200, 200)
            return decode(mask.content), vector.json()

        alone = [ask_both(content) for content in contents]
        with ThreadPoolExecutor(32) as pool:
            together = list(pool.map(ask_both, contents))
        for (mask, vector), (other_mask, other_vector) in zip(alone, together, strict=True):
            assert same_mask(mask, other_mask)
            np.testing.assert_allclose(vector, other_vector, atol=TOLERANCE)

    def test_too_much_is_refused_and_health_checks_are_answered(self, folder: Path, image: np.ndarray) -> None:
        save_segmenter(folder / "busy/model", size=128)
        content = encode(image)

        def ask(_: int) -> requests.Response:
            return server.post(content, "image/png")

        with (
            fork(folder / "busy", folder / "busy.log", {"QUEUE_LENGTH": "2"}) as server,
            ThreadPoolExecutor(80) as pool,
        ):
            server.pings_until(200)
            answers = [pool.submit(ask, number) for number in range(160)]
            pings = {server.ping() for _ in range(20)}
            statuses = [answer.result() for answer in answers]
        assert pings == {200}
        assert {response.status_code for response in statuses} == {200, 503}
        assert all(response.headers["Retry-After"] for response in statuses if response.status_code == 503)

    def test_sigterm_finishes_what_was_accepted(self, folder: Path, image: np.ndarray) -> None:
        save_segmenter(folder / "end/model", size=128)
        content = encode(image)
        head = REQUEST + b"Content-Length: %d\r\n\r\n" % len(content)
        with fork(folder / "end", folder / "end.log") as server, ExitStack() as stack:
            server.pings_until(200)
            address = ("127.0.0.1", server.port)
            connections = [stack.enter_context(socket.create_connection(address, READY_LIMIT)) for _ in range(24)]
            for connection in connections:
                connection.sendall(head + content)
            server.terminate()
            answers = [hear_out(connection) for connection in connections]
            assert server.exit_status() == 0
        for answer in answers:
            status, _, rest = answer.partition(b"\r\n")
            assert status == b"HTTP/1.1 200 OK"
            assert decode(rest.partition(b"\r\n\r\n")[2]).shape == (90, 120)
        assert "Traceback" not in server.log.read_text()


@pytest.mark.real_data
def test_real_images(masks: Server, labels: Server, shared_data: Path) -> None:
    car = next((shared_data / "carvana").rglob("*.jpg"))
    mask = masks.post(car.read_bytes(), "image/jpeg")
    assert decode(mask.content).shape == (1280, 1918)
    for clothing in sorted((shared_data / "clothing/validation").rglob("*.jpg"))[:10]:
        assert len(labels.post(clothing.read_bytes(), "image/jpeg").json()) == 3
