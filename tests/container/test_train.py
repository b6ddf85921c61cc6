"""Training in the image, on real images: what SageMaker starts, what it gets, and how it learns of failures."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from support.containers import Container, Docker, Job

EPOCH_LINE = re.compile(r"epoch=(\d+) .*train:loss=(\d+\.\d+)")
# Training without an end, for what happens in the middle of it.
LONG = {"model": "unet_small", "image_size": "32,48", "epochs": 10_000}


def test_the_default_command_trains_without_network_in_64_mb_of_shared_memory(
    docker: Docker, image: str, make_job: Callable[..., Job], clothes: dict[str, Path]
) -> None:
    """As SDK v3 and a plain `docker run` start it: no command, /dev/shm of 64 MB; and with network isolation."""
    job = make_job(clothes, model="resnet18", image_size=224, epochs=1, batch_size=32, num_workers=4)
    said = docker.output("run", "--rm", "--network", "none", *job.options, image)
    assert [found[1] for found in EPOCH_LINE.finditer(said)] == ["1"]
    assert (job.model / "model.safetensors").exists()


def test_the_entry_script_is_process_1_and_sigterm_ends_the_job(
    start: Callable[..., Container], image: str, make_job: Callable[..., Job], cars: dict[str, Path]
) -> None:
    """SageMaker stops a job by SIGTERM, and kills it 120 s later."""
    job = make_job(cars, **LONG)
    container = start(*job.options, image, "train")
    container.wait_for_epoch(2)
    command = container.docker.output("exec", container.id, "cat", "/proc/1/cmdline").split("\0")
    assert command[1].endswith("/train")

    assert container.stop(seconds=120) == 0
    assert (job.model / "model.safetensors").exists(), "a stopped job leaves a usable model"


def test_a_wrong_hyperparameter_is_named_in_the_failure_file(
    docker: Docker, image: str, make_job: Callable[..., Job], clothes: dict[str, Path]
) -> None:
    job = make_job(clothes, epoch="3", batch_size="many")
    done = docker.run("run", "--rm", *job.options, image, "train", check=False)
    assert done.returncode == 2
    first_line = job.failure.splitlines()[0]
    assert first_line.startswith("Your input: ")
    assert "epoch: is not known; did you mean epochs?" in job.failure
    assert "batch_size" in job.failure


@pytest.mark.slow
def test_a_broken_image_is_named_in_the_failure_file(
    docker: Docker, image: str, make_job: Callable[..., Job], clothes: dict[str, Path]
) -> None:
    job = make_job(clothes)
    broken = job.folder / "input/data/train/hat/broken.jpg"
    broken.write_bytes(next(clothes["train"].joinpath("hat").iterdir()).read_bytes()[:1000])
    done = docker.run("run", "--rm", *job.options, image, "train", check=False)
    assert done.returncode == 3
    assert job.failure.splitlines()[0].startswith("Your data: ")
    assert "hat/broken.jpg" in job.failure


def test_no_data_at_all(docker: Docker, image: str) -> None:
    done = docker.run("run", "--rm", image, check=False)
    assert done.returncode == 2
    assert "channel 'train' is missing" in done.stdout


USERS_SCRIPT = """
import argparse, json, os, pathlib
import byoc_vision, torch
parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int)
epochs = parser.parse_args().epochs
images = sum(1 for path in pathlib.Path(os.environ["SM_CHANNEL_TRAIN"]).rglob("*.jpg"))
pathlib.Path(os.environ["SM_MODEL_DIR"], "mine.json").write_text(json.dumps({"epochs": epochs, "pictures": images}))
"""


def test_script_mode_runs_the_users_own_script(
    docker: Docker, image: str, make_job: Callable[..., Job], clothes: dict[str, Path]
) -> None:
    """The hyperparameters as a v2 estimator with `entry_point` writes them: JSON within JSON."""
    settings = {"sagemaker_program": '"mine.py"', "sagemaker_submit_directory": '"/opt/ml/code"', "epochs": "3"}
    job = make_job(clothes, **settings)
    (job.folder / "code").mkdir()
    (job.folder / "code/mine.py").write_text(USERS_SCRIPT)
    docker.run("run", "--rm", *job.options, image, "train")
    assert json.loads((job.model / "mine.json").read_text()) == {"epochs": 3, "pictures": 120}


@pytest.mark.slow
def test_script_mode_by_environment(
    docker: Docker, image: str, make_job: Callable[..., Job], clothes: dict[str, Path]
) -> None:
    job = make_job(clothes, epochs=4)
    (job.folder / "code").mkdir()
    (job.folder / "code/mine.py").write_text(USERS_SCRIPT)
    docker.run("run", "--rm", *job.options, "--env", "SAGEMAKER_PROGRAM=mine.py", image, "train")
    assert json.loads((job.model / "mine.json").read_text()) == {"epochs": 4, "pictures": 120}


@pytest.mark.slow
def test_script_mode_unpacks_an_archive(
    docker: Docker, image: str, make_job: Callable[..., Job], clothes: dict[str, Path], tmp_path: Path
) -> None:
    archive_path = "/opt/ml/source.tar.gz"
    job = make_job(clothes, sagemaker_program="mine.py", sagemaker_submit_directory=archive_path, epochs=5)
    script = tmp_path / "mine.py"
    script.write_text(USERS_SCRIPT)
    with tarfile.open(job.folder / "source.tar.gz", "w:gz") as archive:
        archive.add(script, "mine.py")
    docker.run("run", "--rm", *job.options, image, "train")
    assert json.loads((job.model / "mine.json").read_text()) == {"epochs": 5, "pictures": 120}


@pytest.mark.slow
@pytest.mark.parametrize("body", ["import no_such_module", "raise SystemExit(7)"])
def test_a_users_script_that_fails_fails_the_job(
    docker: Docker, image: str, make_job: Callable[..., Job], clothes: dict[str, Path], body: str
) -> None:
    job = make_job(clothes, sagemaker_program="mine.py", sagemaker_submit_directory="/opt/ml/code")
    (job.folder / "code").mkdir()
    (job.folder / "code/mine.py").write_text(body)
    done = docker.run("run", "--rm", *job.options, image, "train", check=False)
    assert done.returncode != 0
    assert job.failure
