"""Pretrained weights baked into the image, for jobs without a network."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.containers import REPOSITORY, Docker, Job

pytestmark = pytest.mark.slow

# What the Dockerfile copies: unchanged, so all layers but the last come from the cache.
SOURCES = (".dockerignore", "LICENSE", "Makefile", "README.md", "container", "docker", "pyproject.toml", "serve", "src")
BAKED = "byoc-vision-baked:test"


@pytest.fixture(scope="module")
def baked(docker: Docker, image: str, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The image built once more, from a copy of the sources with weights in docker/weights."""
    context = tmp_path_factory.mktemp("context")
    for name in SOURCES:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, context / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(source, context / name)
    weights = images / "weights/mobilenetv2_100.timm.safetensors"
    shutil.copy(weights, context / "docker/weights/mobilenetv2_100.safetensors")
    name, _, tag = BAKED.partition(":")
    subprocess.run(
        ["make", "build", f"DOCKER={docker.client}", f"IMAGE={name}", f"TAG={tag}", "PRETRAINED=mobilenetv2_100",
         f"BASE_IMAGE={os.environ.get('BASE_IMAGE', '')}"],
        cwd=context,
        check=True,
    )  # fmt: skip
    yield BAKED
    docker.run("rmi", "--force", docker.output("images", "--quiet", BAKED))


def test_a_job_without_network_starts_from_the_baked_weights(
    docker: Docker, baked: str, make_job: Callable[..., Job], clothes: dict[str, Path]
) -> None:
    job = make_job(clothes, model="mobilenetv2_100", image_size=128, epochs=2, batch_size=16, pretrained="true")
    said = docker.output("run", "--rm", "--network", "none", *job.options, baked)
    assert "baked in the image" in said
    assert job.metrics["validation:accuracy"] > 0.65  # chance: 0.33


def test_missing_weights_are_reported_with_the_remedies(
    docker: Docker, baked: str, make_job: Callable[..., Job], clothes: dict[str, Path]
) -> None:
    job = make_job(clothes, model="resnet18", epochs=1, pretrained="true")
    done = docker.run("run", "--rm", "--network", "none", *job.options, baked, check=False)
    assert done.returncode == 4
    assert "PRETRAINED" in job.failure
    assert "pretrained=false" in job.failure
