"""Seeded runs whose losses are known: a change that moves them is seen, and is then either meant or a mistake.

float32 on a CPU; another processor rounds differently, which the tolerance covers.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from support.jobs import QUICK, read_metrics, run_train, write_hyperparameters

from byoc_vision.data.sample_data import make_classification_set, make_segmentation_set
from byoc_vision.paths import MlPaths

COMMON = {"precision": "float32", "num_workers": "0", "seed": "1", "augmentation": "light", "learning_rate": "0.002"}
GOLDEN: dict[str, tuple[dict[str, str], list[float]]] = {
    "segmentation": (
        {"model": "unet_small", "image_size": "32", **QUICK, "epochs": "3", "batch_size": "4"},
        [1.3329, 1.0123, 0.8853],
    ),
    "segmentation, ingredients": (
        {
            "model": "unet_small",
            "image_size": "48",
            "crop_size": "32",
            "random_scale": "2",
            "class_crops": "0.5",
            "class_weights": "sqrt",
            "ema_decay": "0.9",
            "warmup_epochs": "0.5",
            **QUICK,
            "epochs": "3",
            "batch_size": "4",
        },
        [1.3008, 1.0755, 0.9217],
    ),
    "classification": (
        {"model": "resnet10t", "image_size": "32", **QUICK, "epochs": "3", "batch_size": "8"},
        [1.4894, 1.1722, 1.0860],
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_the_losses_are_those_of_the_last_release(name: str, tmp_path: Path) -> None:
    asked, losses = GOLDEN[name]
    paths = MlPaths(tmp_path)
    if name.startswith("segmentation"):
        make_segmentation_set(paths.channels, count_train=16, count_validation=4, size=48)
    else:
        make_classification_set(paths.channels, count_train=32, count_validation=8, size=32)
    write_hyperparameters(paths, COMMON | asked)
    assert run_train(paths) == 0
    epochs = read_metrics(paths)["epochs"]
    assert [epoch["train_loss"] for epoch in epochs] == pytest.approx(losses, rel=0.02)
