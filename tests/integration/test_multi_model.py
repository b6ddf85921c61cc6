"""A multi-model endpoint as a process on a port: models come and go while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.multi_model import Contract, ManyModels, anonymous_memory, save_models
from support.servers import Server, fork, start

from byoc_serve.run import START_EXIT_CODE

pytestmark = pytest.mark.timeout(300)

MANY = {"SAGEMAKER_MULTI_MODEL": "true"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("many")
    save_models(root / "models")
    return root


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[ManyModels]:
    with start(root, root / "log", MANY) as process:
        process.pings_until(200)
        models = root / "models"
        yield ManyModels(process.url, models, models, lambda: memory(process), process.log.read_text)


def memory(server: Server) -> int:
    pid = server.process.pid
    workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(anonymous_memory(Path(f"/proc/{worker}/status").read_text()) for worker in workers)


class TestOwn(Contract):
    """Our server."""


def test_there_is_one_process_and_it_says_how_to_ask(root: Path, tmp_path: Path) -> None:
    with fork(root, tmp_path / "log", {**MANY, "SERVER_WORKERS": "3"}) as server:
        assert server.pings_until(200)[-1] == 200
        assert server.log.read_text().count("Booting worker") == 1
        answer = server.post(b"picture", "image/png")
        assert answer.status_code == 404
        assert "/models/NAME/invoke" in answer.json()["error"]
        server.terminate()
        assert server.exit_status() == 0


def test_a_process_that_was_killed_is_not_replaced_by_an_empty_one(root: Path, tmp_path: Path) -> None:
    with fork(root, tmp_path / "log", MANY) as server:
        server.pings_until(200)
        server.kill_worker()
        assert server.exit_status() == START_EXIT_CODE
    assert "its models are gone" in server.log.read_text()


def test_without_multi_model_server_the_build_argument_is_named(root: Path, tmp_path: Path) -> None:
    with fork(root, tmp_path / "log", {**MANY, "MULTI_MODEL_SERVER": "mms"}) as server:
        assert server.exit_status() == 2
    assert "make build MULTI_MODEL_SERVER=1" in server.log.read_text()
