"""Multi-model endpoints from the image: our own server, and multi-model-server in an image that was built with it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from support.containers import REPOSITORY, Container, Docker, Endpoint
from support.multi_model import LIMIT, Contract, ManyModels, anonymous_memory, save_models, until
from support.servers import save_classifier

WITH_MMS = "byoc-vision-mms:test"
MODELS = Path("/opt/ml/models")
OPTIONS = ("--read-only", "--tmpfs", "/tmp", "--shm-size", "64m", "--env", "SAGEMAKER_MULTI_MODEL=true")

Serve = Callable[..., ManyModels]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = tmp_path_factory.mktemp("many") / "models"
    save_models(models)
    return models


@pytest.fixture(scope="module")
def with_mms(docker: Docker, image: str) -> Iterator[str]:
    """The image built once more, with multi-model-server: all layers up to the environment come from the cache."""
    name, _, tag = WITH_MMS.partition(":")
    subprocess.run(
        ["make", "build", "MULTI_MODEL_SERVER=1", f"DOCKER={docker.client}", f"IMAGE={name}", f"TAG={tag}",
         f"BASE_IMAGE={os.environ.get('BASE_IMAGE', '')}"],
        cwd=REPOSITORY,
        check=True,
    )  # fmt: skip
    yield WITH_MMS
    docker.run("rmi", "--force", docker.output("images", "--quiet", WITH_MMS))


@pytest.fixture(scope="module")
def serve(docker: Docker, models: Path, with_mms: str) -> Iterator[Serve]:
    """Start a multi-model server from an image, and wait until it is healthy. `with_mms`: it is removed after them."""
    started: list[Container] = []

    def serve(image: str, *options: str, own: bool = True) -> ManyModels:
        mount = f"{models}:{MODELS}:ro"
        arguments = ("--detach", "--publish", "127.0.0.1::8080", "--volume", mount, *OPTIONS, *options, image, "serve")
        container = Container(docker, docker.output("run", *arguments).splitlines()[-1])
        started.append(container)
        endpoint = Endpoint(container, f"http://{container.address()}")
        endpoint.wait_until_ready()
        return ManyModels(endpoint.url, models, MODELS, lambda: memory(container), lambda: container.logs, own)

    yield serve
    for container in started:
        print(container.logs)
        docker.run("rm", "--force", container.id)


def memory(container: Container) -> int:
    """Bytes that all processes of a container hold and the kernel cannot take back."""
    return anonymous_memory(container.docker.output("exec", container.id, "sh", "-c", "cat /proc/[0-9]*/status"))


class TestOwn(Contract):
    """Our server, in a container that can write nowhere but in /tmp."""

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, serve: Serve, image: str) -> ManyModels:
        return serve(image)


class TestMms(Contract):
    """multi-model-server, likewise."""

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, serve: Serve, with_mms: str) -> ManyModels:
        return serve(with_mms, "--env", "MULTI_MODEL_SERVER=mms", own=False)


def test_a_full_container_has_room_again_when_a_model_leaves(serve: Serve, image: str, models: Path) -> None:
    """SageMaker goes on loading until it gets a 507; then it unloads another model and asks again."""
    save_classifier(models / "wide/model", "wide_resnet50_2")
    server = serve(image, "--memory", "1500m")
    loaded = []
    while (answer := server.load(f"wide{len(loaded)}", "wide")).status_code == 200:
        loaded.append(f"wide{len(loaded)}")
        assert len(loaded) < 10
    assert answer.status_code == 507
    assert "unload another" in answer.json()["error"]
    assert loaded
    assert server.names() == loaded
    assert server.unload(loaded[0]).status_code == 200
    assert server.load("next", "wide").status_code == 200
    assert server.ask("next").status_code == 200
    assert requests.get(f"{server.url}/ping", timeout=LIMIT).status_code == 200


def test_the_server_ends_when_multi_model_server_does(start: Callable[..., Container], with_mms: str) -> None:
    """Left behind, an empty container would never be replaced."""
    container = start(*OPTIONS, "--env", "MULTI_MODEL_SERVER=mms", with_mms, "serve")
    until(lambda: "Model server started" in container.logs)
    container.docker.run("exec", container.id, "sh", "-c", "kill -9 $(pidof java)")
    assert container.exit_status() == 1
    assert "ended by itself" in container.logs


def test_without_multi_model_server_the_way_to_it_is_told(start: Callable[..., Container], image: str) -> None:
    container = start(*OPTIONS, "--env", "MULTI_MODEL_SERVER=mms", image, "serve")
    assert container.exit_status() == 2
    assert "--build-arg MULTI_MODEL_SERVER=1" in container.logs
