"""The genuine SageMaker Python SDKs in local mode, through the scripts in examples/on_sagemaker/."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.containers import REPOSITORY, Docker
from support.servers import free_port

SETTINGS = ("model=unet_small", "image_size=32,48", "epochs=5", "batch_size=8", "learning_rate=0.003")


class Client:
    """Runs a script of examples/on_sagemaker/ in the venv of its SDK."""

    def __init__(self, docker: Docker, image: str, folder: Path) -> None:
        self.docker, self.image, self.folder = docker, image, folder

    def run(self, version: int, *arguments: str | Path) -> str:
        python = REPOSITORY / f".venv-sdk{version}/bin/python"
        assert python.exists(), f"{python} is missing: `make sdk-clients` makes it"
        script = REPOSITORY / f"examples/on_sagemaker/sdk_v{version}.py"
        client = Path(self.docker.client)
        path = f"{client.parent}:{os.environ['PATH']}" if client.is_absolute() else os.environ["PATH"]
        done = subprocess.run(
            [python, script, "--local", "--image", self.image, "--output", self.folder, *arguments],
            env={
                **os.environ,
                "PATH": path,
                "TMPDIR": str(self.folder.parent),
                "PYTHONPATH": str(REPOSITORY / "src"),
            },
            cwd=self.folder.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        print(done.stdout)
        assert done.returncode == 0
        return done.stdout


@pytest.fixture
def client(docker: Docker, image: str, tmp_path: Path) -> Iterator[Client]:
    """The SDKs leave their containers behind; these are removed."""
    yield Client(docker, image, tmp_path / "output")
    docker.remove_composed(tmp_path)


@pytest.fixture
def port() -> int:
    return free_port()


def trained_model(said: str) -> dict[str, object]:
    """The model config of the model whose archive the script names."""
    (uri,) = re.findall(r"^model: file://(.+)$", said, re.MULTILINE)
    with tarfile.open(uri) as archive:
        names = archive.getnames()
        assert {"model.json", "model.safetensors"} <= set(names)
        config = archive.extractfile("model.json")
        assert config is not None
        return dict(json.load(config))


@pytest.fixture(scope="module")
def labelled_cars(cars: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One channel of images and masks. Copies: the SDKs mount the folder, where links would lead nowhere."""
    folder = tmp_path_factory.mktemp("cars")
    shutil.copytree(cars["train"], folder / "images")
    shutil.copytree(cars["train_masks"], folder / "masks")
    return folder


def mask_of(client: Client, step: str) -> np.ndarray:
    with Image.open(client.folder / f"{step}.mask.png") as answer:
        return np.array(answer)


def percentages(answer: str) -> dict[str, float]:
    return {name: float(number) for name, number in re.findall(r"([a-z]+) ([\d.]+) %", answer)}


def test_v2_trains_deploys_and_transforms(client: Client, labelled_cars: Path, images: Path, port: int) -> None:
    car = min((images / "carvana/validation").glob("*.jpg"))
    options = ("--channel", f"train={labelled_cars}", "--picture", car, "--port", str(port))
    said = client.run(2, "train", "deploy", "transform", *options, *SETTINGS)
    assert trained_model(said)["metrics"]["validation:dice"] > 0.8
    mask = mask_of(client, "deploy")
    assert mask.shape == (1280, 1918)
    assert set(np.unique(mask)) == {0, 1}
    # Two servers, which may find different precisions to be the fastest.
    assert np.mean(mask == mask_of(client, "transform")) > 0.99


@pytest.mark.slow
def test_v2_with_two_instances_makes_one_whole_model(client: Client, labelled_cars: Path) -> None:
    """Two containers that find each other by name share the work; one of them writes the model."""
    said = client.run(2, "train", "--channel", f"train={labelled_cars}", "--instance-count", "2", *SETTINGS)
    assert trained_model(said)["metrics"]["validation:dice"] > 0.8
    last = re.findall(r"epoch=5 (.+) seconds=", said)
    assert len(set(last)) == 1, "every host that reports has the same figures"


def test_v3_trains_deploys_and_transforms(client: Client, clothes: dict[str, Path], tmp_path: Path, port: int) -> None:
    channels = {name: shutil.copytree(folder, tmp_path / name) for name, folder in clothes.items()}
    image = min(channels["validation"].glob("hat/*.jpg"))
    named = [f"--channel={name}={folder}" for name, folder in channels.items()]
    options = (*named, "--recipe", "classification", "--picture", image, "--port", str(port))
    said = client.run(3, "train", "deploy", "transform", *options, "model=resnet18", "image_size=64", "epochs=1")
    assert "validation:accuracy" in trained_model(said)["metrics"]
    deployed, transformed = map(percentages, re.findall(r"^answer: (.+)$", said, re.MULTILINE))
    assert set(deployed) == {"dress", "hat", "shoes"}
    assert deployed == pytest.approx(transformed, abs=2), "of two servers, in the precisions that they measured"
