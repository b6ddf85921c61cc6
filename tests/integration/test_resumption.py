"""A job that is killed at any moment and started again ends as if it had never been killed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from byoc_vision.data.sample_data import make_classification_set, make_segmentation_set
from byoc_vision.paths import MlPaths

TESTS = Path(__file__).parents[1]
KILLS = 10  # of each job
CLOCKED = {"seconds", "images_per_second", "data_wait"}
EVERY_STEP = {"checkpoint_minutes": "1e-9", "pretrained": "false"}
JOBS: dict[str, dict[str, str]] = {
    # Dropout draws from torch's generator, augmentation from the pictures' own, momentum and averages are in AdamW.
    "classification": {
        "model": "test_resnet",
        "image_size": "32",
        "batch_size": "4",
        "epochs": "3",
        "openvino": "false",
        "num_workers": "0",
        "dropout_rate": "0.3",
        "hidden_units": "16",
        "early_stopping": "true",
        "clip_grad_norm": "1",
    },
    "segmentation": {
        "model": "unet_small",
        "image_size": "16",
        "batch_size": "2",
        "epochs": "3",
        "openvino": "false",
        "num_workers": "0",
        "optimizer": "nag",
        "augmentation": "strong",
        "accumulate_steps": "2",
        "warmup_epochs": "0.5",
        "checkpoint_epochs": "2",
    },
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    make_classification_set(folder / "classification", count_train=60, count_validation=6, size=40)
    make_segmentation_set(folder / "segmentation", count_train=40, count_validation=3, size=48)
    return folder


def lay_out(pictures: Path, root: Path, hyperparameters: dict[str, str]) -> MlPaths:
    paths = MlPaths(root)
    shutil.copytree(pictures, paths.channels)
    paths.hyperparameters.parent.mkdir(parents=True)
    paths.hyperparameters.write_text(json.dumps(EVERY_STEP | hyperparameters))
    return paths


def train(paths: MlPaths, kills: int = 0, seed: int = 0) -> dict[str, Any]:
    command = [sys.executable, "-m", "support.killed_training", str(paths.root), str(kills), str(seed)]
    done = subprocess.run(command, cwd=TESTS, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    outcome: dict[str, Any] = json.loads(done.stdout)
    assert outcome["status"] == 0, (paths.root / "log").read_text()
    return outcome


def metric_lines(paths: MlPaths) -> set[str]:
    """What SageMaker's regexes read. A line may come twice, where the process died between it and the checkpoint."""
    lines = re.findall(r"^epoch=.*$", (paths.root / "log").read_text(), re.MULTILINE)
    return {re.sub(r" seconds=.*", "", line) for line in lines}


def epochs(paths: MlPaths) -> list[dict[str, Any]]:
    records = json.loads((paths.output_data / "metrics.json").read_text())["epochs"]
    return [{name: value for name, value in record.items() if name not in CLOCKED} for record in records]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("task", JOBS)
def test_a_job_killed_at_random_moments_ends_with_the_same_bits(drawn: Path, tmp_path: Path, task: str) -> None:
    whole = lay_out(drawn / task, tmp_path / "whole", JOBS[task])
    train(whole)
    killed = lay_out(drawn / task, tmp_path / "killed", JOBS[task])
    assert train(killed, KILLS, seed=len(task))["killed"] == KILLS
    assert (killed.root / "log").read_text().count("Going on from the checkpoint") >= KILLS

    assert epochs(killed) == epochs(whole)
    assert metric_lines(killed) == metric_lines(whole)
    assert len(metric_lines(whole)) == 3
    expected, found = (load_file(paths.model / "model.safetensors") for paths in (whole, killed))
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert torch.equal(tensor, found[name]), name
