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
SEGMENTATION = {"model": "unet_small", "image_size": "32", **QUICK, "epochs": "3", "batch_size": "4"}
CLASSIFICATION = {"model": "resnet10t", "image_size": "32", **QUICK, "epochs": "3", "batch_size": "8"}
GOLDEN: dict[str, tuple[dict[str, str], list[float]]] = {
    "segmentation": (SEGMENTATION, [1.3329, 1.0123, 0.8853]),
    "segmentation, ingredients": (
        SEGMENTATION
        | {"image_size": "48", "crop_size": "32", "random_scale": "2", "class_crops": "0.5", "class_weights": "sqrt"}
        | {"ema_decay": "0.9", "warmup_epochs": "0.5"},
        [1.3008, 0.8609, 0.7513],
    ),
    "classification": (CLASSIFICATION, [1.4894, 1.1722, 1.0860]),
    "mixup": (CLASSIFICATION | {"mixup": "0.5"}, [1.4964, 1.2230, 1.2352]),
    "cutmix": (CLASSIFICATION | {"cutmix": "1", "label_smoothing": "0.1"}, [1.4865, 1.3519, 1.3119]),
    "layer decay": (CLASSIFICATION | {"layer_decay": "0.5", "augmentation": "none"}, [1.4866, 1.0810, 1.0884]),
    "trivial": (CLASSIFICATION | {"augmentation": "trivial"}, [1.5691, 1.4738, 1.3439]),
    "larger at test": (
        CLASSIFICATION | {"train_image_size": "24", "random_resized_crop": "0.4"},
        [1.5325, 1.2114, 1.1242],
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_the_losses_are_those_of_the_last_release(name: str, tmp_path: Path) -> None:
    asked, losses = GOLDEN[name]
    paths = MlPaths(tmp_path)
    if asked["model"] == SEGMENTATION["model"]:
        make_segmentation_set(paths.channels, count_train=16, count_validation=4, size=48)
    else:
        make_classification_set(paths.channels, count_train=32, count_validation=8, size=32)
    write_hyperparameters(paths, COMMON | asked)
    assert run_train(paths) == 0
    epochs = read_metrics(paths)["epochs"]
    assert [epoch["train_loss"] for epoch in epochs] == pytest.approx(losses, rel=0.02)
