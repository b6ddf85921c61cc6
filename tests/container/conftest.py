"""The image under test, and the containers that run it. `make test-container` sets IMAGE and DOCKER."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from support.containers import MULTI_MODEL, REPOSITORY, Container, Docker, Endpoint, Job, some_files
from support.multi_model import ManyModels, anonymous_memory, save_models

MODELS = Path("/opt/ml/models")


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


@pytest.fixture(scope="session")
def images() -> Path:
    """The folder of real images. Fails, never skips: these tests are about the real thing."""
    folder = Path(os.environ.get("BYOC_SHARED_DATA", REPOSITORY.parent / "shared/data"))
    if not folder.is_dir():
        pytest.fail(f"there are no real images in {folder}; BYOC_SHARED_DATA=… names another folder")
    return folder


Start = Callable[..., Container]


@contextmanager
def starting(docker: Docker) -> Iterator[Start]:
    """Start containers in the background, start(*options, image, *command), and remove them at the end."""
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
def start(docker: Docker) -> Iterator[Start]:
    """Start a container in the background for one test: start(*options, image, *command)."""
    with starting(docker) as start:
        yield start


@pytest.fixture(scope="module")
def start_for_module(docker: Docker) -> Iterator[Start]:
    """Start a container in the background for all tests of a module."""
    with starting(docker) as start:
        yield start


def serve_model(start: Start, image: str, model: Path, *options: str, port: int = 8080) -> Endpoint:
    """Serve a model folder as SageMaker does, and wait until it is ready."""
    mount = f"{model}:/opt/ml/model:ro"
    container = start("--publish", f"127.0.0.1::{port}", "--volume", mount, *options, image, "serve")
    endpoint = Endpoint(container, f"http://{container.address(port)}")
    endpoint.wait_until_ready()
    return endpoint


@pytest.fixture
def serve(start: Start, image: str) -> Callable[..., Endpoint]:
    """Serve a model folder for one test: serve(folder, *docker_options, port=8080)."""
    return partial(serve_model, start, image)


@pytest.fixture(scope="module")
def car_server(start_for_module: Start, image: str, segmentation_job: Job) -> Endpoint:
    """The model of the cars, served for all tests of a module that leave the server as it is."""
    return serve_model(start_for_module, image, segmentation_job.model)


@pytest.fixture(scope="module")
def many_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models for a multi-model server."""
    models = tmp_path_factory.mktemp("many") / "models"
    save_models(models)
    return models


@pytest.fixture(scope="module")
def serve_many(start_for_module: Start, many_models: Path) -> Callable[..., ManyModels]:
    """Start a multi-model server that can write to /tmp only: serve_many(image, *docker_options)."""

    def serve(image: str, *options: str, own: bool = True) -> ManyModels:
        mount = f"{many_models}:{MODELS}:ro"
        published = ("--publish", "127.0.0.1::8080", "--volume", mount)
        container = start_for_module(*published, *MULTI_MODEL, *options, image, "serve")
        endpoint = Endpoint(container, f"http://{container.address()}")
        endpoint.wait_until_ready()
        return ManyModels(endpoint.url, many_models, MODELS, partial(memory_of, container), lambda: container.logs, own)

    return serve


def memory_of(container: Container) -> int:
    """Bytes that all processes of a container hold and the kernel cannot take back."""
    return anonymous_memory(container.docker.output("exec", container.id, "sh", "-c", "cat /proc/[0-9]*/status"))


@pytest.fixture
def make_job(tmp_path: Path) -> Callable[..., Job]:
    """Make a job from channels and hyperparameters: make_job({"train": folder}, epochs=2)."""

    def make(channels: dict[str, Path], **hyperparameters: object) -> Job:
        return Job.make(tmp_path / "job", channels, hyperparameters)

    return make


def train_local(docker: Docker, image: str, job: Job) -> Job:
    """Train with the script that a user would take."""
    subprocess.run(
        ["sh", REPOSITORY / "local_test/train_local.sh", image, job.folder],
        env={**os.environ, "DOCKER": docker.client},
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return job


@pytest.fixture(scope="session")
def cars(images: Path) -> dict[str, Path]:
    """Channels of 318 tiny images of cars with masks."""
    folder = images / "carvana-thumbnails"
    return {"train": folder / "train", "train_masks": folder / "train_masks"}


@pytest.fixture(scope="session")
def clothes(images: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Channels of three classes of clothing, 40 images each, and 20 for validation."""
    folder = tmp_path_factory.mktemp("clothes")
    for split, count in (("train", 40), ("validation", 20)):
        for name in ("dress", "hat", "shoes"):
            some_files(images / "clothing" / split / name, folder / split / name, count)
    return {"train": folder / "train", "validation": folder / "validation"}


@pytest.fixture(scope="session")
def weights(images: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A channel of pretrained weights for timm's mobilenetv2_100."""
    folder = tmp_path_factory.mktemp("weights")
    (folder / "mobilenetv2_100.safetensors").symlink_to(images / "weights/mobilenetv2_100.timm.safetensors")
    return {"pretrained": folder}


@pytest.fixture(scope="session")
def segmentation_job(
    docker: Docker, image: str, cars: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Job:
    """A small U-Net, trained from scratch on the cars."""
    settings = {"model": "unet_small", "image_size": "32,48", "epochs": 5, "batch_size": 8, "learning_rate": 0.003}
    return train_local(docker, image, Job.make(tmp_path_factory.mktemp("segmentation") / "job", cars, settings))


@pytest.fixture(scope="session")
def classification_job(
    docker: Docker,
    image: str,
    clothes: dict[str, Path],
    weights: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Job:
    """A classifier of clothes that starts from pretrained weights."""
    settings = {"model": "mobilenetv2_100", "image_size": 128, "epochs": 3, "batch_size": 16, "pretrained": "true"}
    channels = {**clothes, **weights}
    return train_local(docker, image, Job.make(tmp_path_factory.mktemp("classification") / "job", channels, settings))
