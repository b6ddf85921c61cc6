"""What a multi-model endpoint promises, as tests that any server of ours inherits.

Source: "Build Your Own Container for SageMaker Multi-Model Endpoints" in the SageMaker developer guide.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
import requests
from support.images import encode
from support.servers import save_classifier, save_segmenter
from support.waiting import wait_until

from byoc_serve.memory import LIBRARIES, PEAK, SPARE
from byoc_vision.system.memory import memory_limit

LIMIT = 120  # seconds
NO_ANSWER = 0
TINY = "test_resnet"  # timm's, made for tests
IMAGE = encode(np.full((40, 50, 3), 90, np.uint8))
TARGET = {"X-Amzn-SageMaker-Target-Model": "team/clothes.tar.gz"}


@dataclass(frozen=True)
class ManyModels:
    """A multi-model server.

    models: where tests put models; inside: the same folder as the server sees it. memory: bytes that its processes
    hold, without what the kernel can take back. log: what it has said. own: whether it is ours or multi-model-server.
    """

    url: str
    models: Path
    inside: Path
    memory: Callable[[], int]
    log: Callable[[], str]
    own: bool = True

    def path(self, folder: str) -> str:
        return str(self.inside / folder / "model")

    def load(self, name: str, folder: str) -> requests.Response:
        body = {"model_name": name, "url": self.path(folder)}
        return requests.post(f"{self.url}/models", json=body, timeout=LIMIT)

    def unload(self, name: str) -> requests.Response:
        return requests.delete(self._model(name), timeout=LIMIT)

    def describe(self, name: str) -> requests.Response:
        return requests.get(self._model(name), timeout=LIMIT)

    def ask(
        self, name: str, body: bytes = IMAGE, content_type: str = "image/png", limit: float = LIMIT, **headers: str
    ) -> requests.Response:
        sent = {"Content-Type": content_type, "Accept": "application/json", **TARGET, **headers}
        return requests.post(f"{self._model(name)}/invoke", data=body, headers=sent, timeout=limit)

    def names(self, limit: int = 100) -> list[str]:
        """Of all models, asked for page by page."""
        found: list[str] = []
        token: str | None = None
        while True:
            parameters = {"limit": limit} | ({"next_page_token": token} if token else {})
            page = requests.get(f"{self.url}/models", params=parameters, timeout=LIMIT).json()
            assert len(page["models"]) <= limit
            found += [model["modelName"] for model in page["models"]]
            token = page.get("nextPageToken")
            if not token:
                return found

    def _model(self, name: str) -> str:
        return f"{self.url}/models/{quote(name, safe='')}"


def save_models(models: Path) -> None:
    """A model in each of the folders that the contract's tests name."""
    save_classifier(models / "labels/model", TINY)
    save_segmenter(models / "masks/model/nested")
    save_classifier(models / "large/model", "resnet50")
    save_classifier(models / "damaged/model", TINY)
    _cut(models / "damaged/model/model.safetensors", 1000)
    save_classifier(models / "huge/model", TINY)
    total = memory_limit()
    assert total is not None
    # Holes, which take no room on the disk: nearly all memory, and more than any machine has.
    _cut(models / "huge/model/model.safetensors", int((total - SPARE - LIBRARIES) / PEAK))
    save_classifier(models / "immense/model", TINY)
    _cut(models / "immense/model/model.safetensors", 2**42)
    save_segmenter(models / "impossible/model")
    config = models / "impossible/model/model.json"
    config.write_text(config.read_text().replace('"height": 64', '"height": 1000000000'))


def anonymous_memory(status: str) -> int:
    """Bytes that a process holds and the kernel cannot take back, from its /proc/PID/status; 0 where it has ended."""
    lines = (line.split() for line in status.splitlines())
    return sum(int(words[1]) * 1024 for words in lines if words[:1] == ["RssAnon:"])


class Contract:
    """Inherit it and give the fixture `server`, a ManyModels in whose folder `save_models` was called."""

    def test_without_models_it_is_healthy(self, server: ManyModels) -> None:
        assert requests.get(f"{server.url}/ping", timeout=LIMIT).status_code == 200
        assert server.names() == []

    def test_load_ask_and_unload(self, server: ManyModels) -> None:
        assert server.load("labels", "labels").status_code == 200
        assert server.load("masks", "masks").status_code == 200  # nested one deep, as archives often are
        assert server.describe("masks").json()["modelUrl"] == server.path("masks")
        assert {entry["label"] for entry in server.ask("labels").json()} == {"dress", "hat", "shoes"}
        assert server.ask("masks").json()["size"] == [40, 50]
        assert server.unload("labels").status_code == 200
        for answer in (server.ask("labels"), server.describe("labels"), server.unload("labels")):
            assert answer.status_code == 404
        assert server.ask("masks", Accept="image/png").headers["Content-Type"] == "image/png"
        assert server.unload("masks").status_code == 200
        assert requests.get(f"{server.url}/ping", timeout=LIMIT).status_code == 200

    def test_requests_are_answered_as_by_a_single_model(self, server: ManyModels) -> None:
        attributes = "X-Amzn-SageMaker-Custom-Attributes"
        assert server.load("labels", "labels").status_code == 200
        try:
            assert server.ask("labels", **{attributes: "trace=1"}).headers[attributes] == "trace=1"
            for answer, status in (
                (server.ask("labels", b"no image"), 400),
                (server.ask("labels", b"text", "text/plain"), 415),
                (server.ask("labels", Accept="image/png"), 406),
            ):
                assert answer.status_code == status
                assert answer.json()["error"]
        finally:
            server.unload("labels")

    def test_a_name_is_loaded_once(self, server: ManyModels) -> None:
        try:
            with ThreadPoolExecutor(4) as pool:
                answers = list(pool.map(lambda _: server.load("twin", "labels"), range(4)))
            assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
            assert server.load("twin", "labels").status_code == 409
        finally:
            assert server.unload("twin").status_code == 200

    def test_names_are_any_text(self, server: ManyModels) -> None:
        for name in ["two words ü%41+?#", *(["../../etc", "a//b/invoke"] if server.own else [])]:
            assert server.load(name, "labels").status_code == 200
            assert server.ask(name).status_code == 200
            assert server.names() == [name]
            assert server.unload(name).status_code == 200

    def test_lists_have_pages(self, server: ManyModels) -> None:
        names = ["c", "a", "b"] if server.own else ["b", "a"]
        for name in names:
            assert server.load(name, "labels").status_code == 200
        try:
            assert server.names(limit=len(names) - 1) == sorted(names)
        finally:
            for name in names:
                server.unload(name)

    @pytest.mark.parametrize("body", [b"{", b"[]", b"{}", b'{"model_name": "x"}', b'{"model_name": 1, "url": 2}'])
    def test_an_invalid_call_is_an_error(self, server: ManyModels, body: bytes) -> None:
        headers = {"Content-Type": "application/json"}
        answer = requests.post(f"{server.url}/models", data=body, headers=headers, timeout=LIMIT)
        if server.own:
            assert answer.status_code == 400
            assert "model_name" in answer.json()["error"]
        else:
            assert answer.status_code >= 400
        assert server.names() == []

    @pytest.mark.parametrize("url", ["/etc", "{inside}/labels/../../../etc", "{inside}", "labels/model", "s3://a/b"])
    def test_models_lie_in_their_folder_alone(self, server: ManyModels, url: str) -> None:
        body = {"model_name": "x", "url": url.format(inside=server.inside)}
        answer = requests.post(f"{server.url}/models", json=body, timeout=LIMIT)
        assert answer.status_code == 400 if server.own else answer.status_code >= 400
        assert server.names() == []

    def test_a_missing_folder_is_an_error(self, server: ManyModels) -> None:
        assert server.load("x", "missing").status_code == 404

    def test_a_damaged_model_leaves_nothing_behind(self, server: ManyModels) -> None:
        answer = server.load("damaged", "damaged")
        assert answer.status_code == (400 if server.own else 500)
        wait_until(lambda: "model.safetensors is damaged" in (answer.text if server.own else server.log()))
        assert server.names() == []
        assert server.load("damaged", "labels").status_code == 200
        assert server.unload("damaged").status_code == 200

    def test_a_model_that_does_not_fit_gets_507_and_is_forgotten(self, server: ManyModels) -> None:
        """multi-model-server answers 409 for a moment until it has forgotten it."""
        assert server.load("huge", "huge").status_code == 507
        wait_until(lambda: server.load("huge", "huge").status_code == 507)
        wait_until(lambda: server.load("huge", "labels").status_code == 200)
        assert server.unload("huge").status_code == 200

    @pytest.mark.parametrize(
        ("name", "reason"), [("immense", "in total; use a larger instance"), ("impossible", "preprocess.height is 10")]
    )
    def test_what_never_fits_makes_sagemaker_unload_nothing(self, server: ManyModels, name: str, reason: str) -> None:
        """A 507 would have it unload healthy models."""
        answer = server.load(name, name)
        assert answer.status_code == (400 if server.own else 500)
        wait_until(lambda: reason in (answer.text if server.own else server.log()))
        assert server.names() == []

    def test_memory_is_free_when_a_model_is_unloaded(self, server: ManyModels) -> None:
        weights = os.path.getsize(server.models / "large/model/model.safetensors")
        if server.own:  # the libraries, and what they keep, are there from now on
            server.load("large", "large")
            server.unload("large")
        held = [server.memory()]
        for _ in range(2 if server.own else 1):
            assert server.load("large", "large").status_code == 200
            assert server.ask("large").status_code == 200
            held.append(server.memory())
            assert server.unload("large").status_code == 200
            held.append(server.memory())
        grown = [(count - held[0]) / weights for count in held[1:]]
        assert all(share > 0.9 for share in grown[::2]), grown
        assert all(share < 0.2 for share in grown[1::2]), grown

    def test_requests_in_flight_see_no_half_model(self, server: ManyModels) -> None:
        """While a model comes and goes every request is answered, or refused with the reason."""
        statuses: list[int] = []
        ended = threading.Event()

        def ask() -> None:
            while not ended.is_set():
                try:
                    statuses.append(server.ask("busy", limit=LIMIT if server.own else 2).status_code)
                except requests.ReadTimeout:
                    statuses.append(NO_ANSWER)

        def wait_for(status: int) -> None:
            """Until a request that ends from now on has this status."""
            known = len(statuses)
            wait_until(lambda: status in statuses[known:])

        with ThreadPoolExecutor(4) as pool:
            asking = [pool.submit(ask) for _ in range(4)]
            try:
                for _ in range(2 if server.own else 1):
                    assert server.load("busy", "labels").status_code == 200
                    wait_for(200)
                    assert server.unload("busy").status_code == 200
                    wait_for(404)
            finally:
                ended.set()
        for one in asking:
            one.result()
        # multi-model-server ends the model's process, and who waits for it gets 500, 503, or at times no answer.
        assert set(statuses) <= {200, 404, 503} | (set() if server.own else {500, NO_ANSWER})


def _cut(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)
