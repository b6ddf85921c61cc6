"""A job that is killed at any moment and started again ends as if it had never been killed."""

from __future__ import annotations

import random
import re
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support import forked
from support.jobs import QUICK, read_metrics, write_hyperparameters

from byoc_vision import artifact
from byoc_vision.cli import main
from byoc_vision.data.sample_data import make_classification_set, make_segmentation_set
from byoc_vision.paths import MlPaths
from byoc_vision.training.checkpoint_file import CheckpointStore

pytestmark = pytest.mark.slow

KILLS = 10  # of each job
CLOCKED = {"seconds", "images_per_second", "data_wait"}
EVERY_STEP = {"checkpoint_minutes": "1e-9", "pretrained": "false"}
JOBS: dict[str, dict[str, str]] = {
    # Dropout draws from torch's generator, augmentation from the images' own, momentum and averages are in AdamW.
    "classification": {
        "model": "test_resnet",
        "image_size": "32",
        "batch_size": "4",
        "epochs": "3",
        **QUICK,
        "num_workers": "0",
        "dropout_rate": "0.3",
        "hidden_units": "16",
        "early_stopping": "true",
        "clip_grad_norm": "1",
        "ema_decay": "0.9",
        "soup": "2",
        "layer_decay": "0.8",
        "mixup": "0.4",
        "cutmix": "1",
    },
    "segmentation": {
        "model": "unet_small",
        "image_size": "16",
        "batch_size": "2",
        "epochs": "3",
        **QUICK,
        "num_workers": "0",
        "optimizer": "nag",
        "augmentation": "strong",
        "accumulate_steps": "2",
        "warmup_epochs": "0.5",
        "checkpoint_epochs": "2",
        "random_scale": "2",
        "class_crops": "0.5",
        "mask_threshold": "auto",
        "min_area": "auto",
        "class_weights": "sqrt",
        "ema_decay": "0.9",
    },
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    make_classification_set(folder / "classification", count_train=60, count_validation=6, size=40)
    make_segmentation_set(folder / "segmentation", count_train=40, count_validation=3, size=48)
    return folder


def lay_out(images: Path, root: Path, hyperparameters: dict[str, str]) -> MlPaths:
    paths = MlPaths(root)
    shutil.copytree(images, paths.channels)
    write_hyperparameters(paths, EVERY_STEP | hyperparameters)
    return paths


def train(paths: MlPaths) -> None:
    """Here: a process with another history, and another order of what has none, than those that are killed."""
    with (paths.root / "log").open("w") as log, redirect_stdout(log), one_thread():
        status = main(command(paths))
    assert status == 0, (paths.root / "log").read_text()


def train_in_spite_of_kills(paths: MlPaths, seed: int) -> None:
    """Each of the first KILLS processes is killed by SIGKILL, up to a tenth of a second after its first checkpoint,
    that is at any point of a step or of a write. The last one is left alone.
    """
    store, generator, log = CheckpointStore(paths.checkpoints), random.Random(seed), paths.root / "log"
    for _ in range(KILLS):
        written, process = store.next_number(), forked.start(main, command(paths), log=log)
        while store.next_number() <= written and process.poll() is None:
            time.sleep(0.002)
        time.sleep(generator.uniform(0, 0.1))
        process.kill()
        assert process.wait(60) == -signal.SIGKILL, log.read_text()
    assert forked.start(main, command(paths), log=log).wait(200) == 0, log.read_text()


def command(paths: MlPaths) -> list[str]:
    return ["train", "--root", str(paths.root)]


@contextmanager
def one_thread() -> Iterator[None]:
    """As in a forked process: the order of sums depends on the number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def metric_lines(paths: MlPaths) -> set[str]:
    """What SageMaker's regexes read. A line may come twice, where the process died between it and the checkpoint."""
    lines = re.findall(r"^epoch=.*$", (paths.root / "log").read_text(), re.MULTILINE)
    return {re.sub(r" seconds=.*", "", line) for line in lines}


def epochs(paths: MlPaths) -> list[dict[str, Any]]:
    records = read_metrics(paths)["epochs"]
    return [{name: value for name, value in record.items() if name not in CLOCKED} for record in records]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("task", JOBS)
def test_a_job_killed_at_random_moments_ends_with_the_same_bits(drawn: Path, tmp_path: Path, task: str) -> None:
    whole = lay_out(drawn / task, tmp_path / "whole", JOBS[task])
    train(whole)
    killed = lay_out(drawn / task, tmp_path / "killed", JOBS[task])
    train_in_spite_of_kills(killed, seed=len(task))
    resumed = (killed.root / "log").read_text().count("Going on from the checkpoint")
    assert resumed >= KILLS - 2, "the job may be done before the last kills, but not before most of them"

    assert epochs(killed) == epochs(whole)
    assert metric_lines(killed) == metric_lines(whole)
    assert len(metric_lines(whole)) == 3
    assert artifact.read_config(killed.model) == artifact.read_config(whole.model)
    expected, found = (load_file(paths.model / "model.safetensors") for paths in (whole, killed))
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert torch.equal(tensor, found[name]), name
