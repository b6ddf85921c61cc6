"""Whole jobs with the cache and without."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest
from support.hosts import train_on_one
from support.jobs import QUICK, read_metrics, run_train, write_hyperparameters

from byoc_vision.data.sample_data import make_segmentation_set
from byoc_vision.paths import MlPaths

SETTINGS = {
    "model": "unet_small",
    "image_size": "32",
    "crop_size": "16",
    "epochs": "3",
    **QUICK,
    "batch_size": "4",
    "num_workers": "0",
    "precision": "float32",
}


def lay_out(root: Path, **settings: str) -> MlPaths:
    paths = MlPaths(root)
    make_segmentation_set(paths.channels, count_train=8, count_validation=4, size=48)
    write_hyperparameters(paths, SETTINGS | settings)
    return paths


def figures(paths: MlPaths) -> list[dict[str, object]]:
    """The epochs' figures, without those of the clock."""
    epochs = read_metrics(paths)["epochs"]
    assert all(epoch["images_per_second"] > 0 and 0 <= epoch["data_wait"] <= 1 for epoch in epochs)
    return [{name: epoch[name] for name in ("train_loss", "validation")} for epoch in epochs]


def train(root: Path, **settings: str) -> list[dict[str, object]]:
    paths = lay_out(root, **settings)
    assert run_train(paths) == 0
    return figures(paths)


def train_in_two_processes(root: Path, **settings: str) -> list[dict[str, object]]:
    paths = lay_out(root, **settings)
    train_on_one(paths, processes=2, TMPDIR=str(root.parent))
    return figures(paths)


def left_in(folder: Path) -> list[str]:
    (root,) = folder.glob("byoc-vision-cache-*")
    return [path.name for path in root.iterdir()]


def test_the_metrics_are_the_same_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    without = train(tmp_path / "off", cache="off")
    assert "Decoded images are kept" not in capfd.readouterr().out
    assert train(tmp_path / "auto") == without
    output = capfd.readouterr().out
    assert f"Decoded images are kept in {tmp_path}" in output
    assert len(re.findall(r"^.*epoch=\d .* images_per_second=[\d.]+ data_wait=\d+%$", output, re.MULTILINE)) == 3
    assert left_in(tmp_path) == ["lock"]


@pytest.mark.timeout(300)
def test_processes_of_a_host_share_it(tmp_path: Path) -> None:
    without = train_in_two_processes(tmp_path / "off", cache="off")
    assert train_in_two_processes(tmp_path / "auto") == without
    assert left_in(tmp_path) == ["lock"]
