"""The image under test, and the containers that run it. `make test-container` says which: IMAGE, DOCKER."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.containers import Container, Docker, Endpoint, Job


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.container)
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session")
def docker() -> Docker:
    """Fails, never skips, where no engine answers: the caller asked for these tests."""
    docker = Docker(os.environ.get("DOCKER", "docker"))
    try:
        docker.run("info")
    except (AssertionError, OSError) as error:
        pytest.fail(f"no Docker engine answers {docker.client}; DOCKER=… names the client: {error}")
    return docker


@pytest.fixture(scope="session")
def image(docker: Docker) -> str:
    image = os.environ.get("IMAGE", "byoc-vision:latest")
    if docker.run("image", "inspect", "--format", "{{.Id}}", image, check=False).returncode:
        pytest.fail(f"there is no image {image}: `make test-container` builds it")
    return image


@pytest.fixture
def start(docker: Docker) -> Iterator[Callable[..., Container]]:
    """Start a container in the background: start(*options, image, *command)."""
    started: list[Container] = []

    def start(*arguments: str | Path) -> Container:
        container = Container(docker, docker.output("run", "--detach", *arguments).splitlines()[-1])
        started.append(container)
        return container

    yield start
    for container in started:
        print(container.logs)
        docker.run("rm", "--force", container.id)


@pytest.fixture
def serve(start: Callable[..., Container], image: str) -> Callable[..., Endpoint]:
    """Serve a model folder as SageMaker does, and wait until it is ready: serve(folder, *docker_options)."""

    def serve(model: Path, *options: str, ready: bool = True) -> Endpoint:
        container = start(
            "--publish", "127.0.0.1::8080", "--volume", f"{model}:/opt/ml/model:ro", *options, image, "serve"
        )
        endpoint = Endpoint(container, f"http://{container.address()}")
        if ready:
            endpoint.wait_until_ready()
        return endpoint

    return serve


@pytest.fixture
def make_job(tmp_path: Path) -> Callable[..., Job]:
    def make(channels: dict[str, Path], **hyperparameters: object) -> Job:
        return Job.make(tmp_path / "job", channels, **hyperparameters)

    return make
