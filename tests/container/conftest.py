"""The image under test, and the containers that run it. `make test-container` says which: IMAGE, DOCKER."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.containers import REPOSITORY, Container, Docker, Endpoint, Job, some_files


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

    def serve(model: Path, *options: str, port: int = 8080) -> Endpoint:
        mount = f"{model}:/opt/ml/model:ro"
        container = start("--publish", f"127.0.0.1::{port}", "--volume", mount, *options, image, "serve")
        endpoint = Endpoint(container, f"http://{container.address(port)}")
        endpoint.wait_until_ready()
        return endpoint

    return serve


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
