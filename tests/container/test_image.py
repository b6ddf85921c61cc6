"""What the image is, before it does anything."""

from __future__ import annotations

import json
import re

import pytest
from support.containers import Docker


@pytest.fixture(scope="module")
def configuration(docker: Docker, image: str) -> dict[str, object]:
    return dict(json.loads(docker.output("image", "inspect", "--format", "{{json .Config}}", image)))


def shell(docker: Docker, image: str, script: str, *options: str) -> str:
    return docker.output("run", "--rm", "--network", "none", *options, image, "sh", "-euc", script)


def test_labels(configuration: dict[str, dict[str, str]]) -> None:
    labels = configuration["Labels"]
    assert labels["com.amazonaws.sagemaker.capabilities.multi-models"] == "true"
    assert labels["com.amazonaws.sagemaker.capabilities.accept-bind-to-port"] == "true"
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert re.fullmatch(r"\d+\.\d+\.\d+", labels["org.opencontainers.image.version"])
    assert "org.opencontainers.image.revision" in labels
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", labels["org.opencontainers.image.created"])
    assert re.fullmatch(r"((https?|ssh|git)://[^@?]+)?", labels["org.opencontainers.image.source"])


def test_it_trains_by_default_and_has_no_entrypoint(configuration: dict[str, object]) -> None:
    assert configuration["Cmd"] == ["train"]
    assert configuration["Entrypoint"] is None


def test_the_version_is_the_labels(docker: Docker, image: str, configuration: dict[str, dict[str, str]]) -> None:
    said = docker.output("run", "--rm", image, "byoc-vision", "--version")
    assert said == configuration["Labels"]["org.opencontainers.image.version"]


def test_our_commands_come_first_on_the_path(docker: Docker, image: str) -> None:
    """sagemaker-training has a `train` of its own, which must be there and must lose."""
    found = shell(docker, image, "for command in train serve byoc-vision; do command -v $command; done")
    assert shell(docker, image, "ls /opt/byoc/venv/bin/train")
    assert found.split() == ["/opt/byoc/bin/train", "/opt/byoc/bin/serve", "/opt/byoc/venv/bin/byoc-vision"]


def test_environment(docker: Docker, image: str) -> None:
    environment = dict(line.split("=", 1) for line in shell(docker, image, "env").splitlines() if "=" in line)
    assert environment["NVIDIA_VISIBLE_DEVICES"] == "all"
    assert environment["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"
    assert environment["PYTHONUNBUFFERED"] == "1"
    assert environment["NO_ALBUMENTATIONS_UPDATE"] == "1"
    assert environment["LD_LIBRARY_PATH"] == ""


def test_it_holds_what_it_needs_and_no_compiler(docker: Docker, image: str) -> None:
    """The toolkits import without a network; torch is the CUDA build; what was left out is left out (left-out.txt)."""
    imports = "import cv2, timm, segmentation_models_pytorch, sagemaker_training.cli.train, sagemaker_inference, torch"
    version = shell(docker, image, f'python -c "{imports}; print(torch.version.cuda)"')
    assert version.startswith("13.")
    missing = shell(docker, image, "pip check --disable-pip-version-check || true")
    left_out = r"(openvino|nncf) \S+ requires openvino-telemetry, which is not installed\."
    assert all(re.fullmatch(left_out, line) for line in missing.splitlines()), missing
    assert len(missing.splitlines()) == 2
    assert shell(docker, image, "command -v gcc cc || true") == ""


def test_the_folder_of_sagemaker_is_empty(docker: Docker, image: str) -> None:
    assert shell(docker, image, "ls /opt/ml 2>/dev/null || true") == ""


def test_no_caches_and_no_leftovers(docker: Docker, image: str) -> None:
    """What a build leaves behind only makes every job's start slower."""
    left = "find /root/.cache /tmp /var/lib/apt/lists /var/cache/apt/archives -type f -size +100k 2>/dev/null || true"
    assert shell(docker, image, left) == ""
    assert int(docker.output("image", "inspect", "--format", "{{.Size}}", image)) < 7e9


def test_the_compat_step_runs_in_the_image(docker: Docker, image: str) -> None:
    """With the image's own shell, and made-up files: an old driver, and a compat library."""
    script = """
        mkdir /tmp/compat && : > /tmp/compat/libcuda.so.595.58.03
        echo 'NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024' > /tmp/version
        . /opt/byoc/bin/cuda_compat.sh
        echo "$LD_LIBRARY_PATH"
    """
    options = ("--env", "BYOC_CUDA_COMPAT_DIR=/tmp/compat", "--env", "BYOC_NVIDIA_VERSION_FILE=/tmp/version")
    assert "/tmp/compat" in shell(docker, image, script, *options).splitlines()  # beside what it says of it


def test_the_compat_libraries_are_not_where_container_toolkits_take_them(docker: Docker, image: str) -> None:
    found = shell(docker, image, "ls -d /opt/byoc/cuda-compat; ls -d /usr/local/cuda*/compat 2>/dev/null || true")
    assert found.split() == ["/opt/byoc/cuda-compat"]
