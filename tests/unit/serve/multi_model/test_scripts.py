"""Models that are scripts, each in a process of its own, behind one endpoint."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from support.scripts import write_script
from support.waiting import wait_until
from werkzeug.test import TestResponse

from byoc_serve.multi_model.registry import Registry
from byoc_serve.readiness import Readiness
from byoc_serve.settings import Settings
from byoc_serve.wsgi import make_service

CODE = """
import os, helper
def model_fn(model_dir):
    return bytearray(os.urandom(1)) * (100 * 2**20)
def input_fn(body, content_type):
    return body.decode("ascii")
def predict_fn(data, model):
    if data == "die":
        os.kill(os.getpid(), 9)
    if data == "raise":
        raise KeyError("of the script")
    return f"{helper.NAME} {os.getpid()} {data}"
def output_fn(prediction, accept):
    return prediction, "text/plain"
"""


@pytest.fixture
def client(tmp_path: Path) -> Iterator[FlaskClient]:
    for name in ("one", "two"):
        write_script(tmp_path, CODE, f"models/{name}/model/code/inference.py")
        write_script(tmp_path, f"NAME = {name!r}", f"models/{name}/model/code/helper.py")
    app, registry = make_service(Settings(root=tmp_path, multi_model=True), Readiness())
    assert isinstance(registry, Registry)
    yield app.test_client()
    registry.stop()


def load(client: FlaskClient, root: Path, name: str) -> TestResponse:
    return client.post("/models", json={"model_name": name, "url": str(root / f"models/{name}/model")})


def ask(client: FlaskClient, name: str, body: bytes = b"x") -> TestResponse:
    return client.post(f"/models/{name}/invoke", data=body, content_type="text/x")


def resident(process: int) -> int:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) * 1024


def test_two_scripts_with_modules_of_the_same_name(client: FlaskClient, tmp_path: Path) -> None:
    processes = {}
    for name in ("one", "two"):
        assert load(client, tmp_path, name).status_code == 200
    for name in ("one", "two"):
        module, process, body = ask(client, name).text.split()
        assert (module, body) == (name, "x")
        processes[name] = int(process)
    assert len({*processes.values(), os.getpid()}) == 3
    assert resident(processes["one"]) > 100 * 2**20

    assert client.delete("/models/one").status_code == 200
    assert not Path(f"/proc/{processes['one']}").exists(), "its memory is free when DELETE returns"
    assert ask(client, "one").status_code == 404
    assert ask(client, "two").status_code == 200


def test_what_the_script_refuses_and_breaks(
    client: FlaskClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    load(client, tmp_path, "one")
    refused = ask(client, "one", b"\xff")
    assert (refused.status_code, "UnicodeDecodeError" in refused.get_json()["error"]) == (400, True)
    broken = ask(client, "one", b"raise")
    assert broken.status_code == 500
    assert broken.get_json()["id"]
    assert "KeyError: 'of the script'" in caplog.text
    assert ask(client, "one").status_code == 200


def test_a_process_that_is_killed_is_started_again(client: FlaskClient, tmp_path: Path) -> None:
    load(client, tmp_path, "one")
    before = ask(client, "one").text
    assert ask(client, "one", b"die").status_code == 507
    after = ask(client, "one")
    assert after.status_code == 200
    assert after.text != before


def test_a_script_that_cannot_be_loaded_leaves_nothing(client: FlaskClient, tmp_path: Path) -> None:
    write_script(tmp_path, "import no_such_module", "models/bad/model/code/inference.py")
    response = load(client, tmp_path, "bad")
    assert response.status_code == 500
    assert "ModuleNotFoundError: No module named 'no_such_module'" in response.get_json()["error"]
    assert client.get("/models").get_json()["models"] == []
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    wait_until(lambda: "byoc_serve.scripts" not in children.read_text(), lambda: "a process is left")


BATCHES = """
import os, pathlib, threading, time
BATCHING = True
GATE = pathlib.Path(__file__).with_name("gate")
def model_fn(model_dir):
    return 2
def input_fn(body, content_type):
    return int(body)
def predict_fn(data, model):
    GATE.with_name("reached").touch()
    while GATE.exists(): time.sleep(0.01)
    if 13 in data: raise KeyError("13")
    return [(value * model, len(data)) for value in data]
def output_fn(prediction, accept):
    return list(prediction)
"""


def test_batches(client: FlaskClient, tmp_path: Path) -> None:
    """Only the requests at fault fail, of those that went through the model together."""
    write_script(tmp_path, BATCHES, "models/one/model/code/inference.py")
    code = tmp_path / "models/one/model/code"
    (code / "gate").touch()
    load(client, tmp_path, "one")
    batcher = client.application.extensions["registry"]._entries["one"].model._model._batcher
    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(ask, client, "one", b"1")]
        wait_until((code / "reached").exists, lambda: "it is not computed")
        asked += [pool.submit(ask, client, "one", body) for body in (b"2", b"3", b"no number")]
        wait_until(lambda: batcher.in_flight == 4, lambda: f"{batcher.in_flight} are in flight")
        (code / "gate").unlink()
        answers = [answer.result() for answer in asked]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 400]
        assert [answer.get_json() for answer in answers[:3]] == [[2, 1], [4, 2], [6, 2]]
        answers = list(pool.map(lambda body: ask(client, "one", body), (b"1", b"13", b"2", b"3")))
    assert [answer.status_code for answer in answers] == [200, 500, 200, 200]
