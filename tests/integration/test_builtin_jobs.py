"""Job definitions written for SageMaker's built-in algorithms, with every hyperparameter of their tables, unchanged."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.jobs import QUICK, run_train, write_hyperparameters

from byoc_vision import artifact
from byoc_vision.data.sample_data import make_classification_set, make_segmentation_set
from byoc_vision.paths import MlPaths

# As the console writes them. Only sizes and counts are small.
SEMANTIC_SEGMENTATION = {
    "backbone": "resnet-50",
    "algorithm": "psp",
    "use_pretrained_model": "False",
    "num_classes": "2",
    "num_training_samples": "8",
    "base_size": "64",
    "crop_size": "32",
    "epochs": "1",
    "learning_rate": "0.001",
    "lr_scheduler": "poly",
    "lr_scheduler_factor": "0.1",
    "lr_scheduler_step": "10, 20",
    "optimizer": "rmsprop",
    "momentum": "0.9",
    "weight_decay": "0.0001",
    "gamma1": "0.9",
    "gamma2": "0.9",
    "mini_batch_size": "4",
    "validation_mini_batch_size": "4",
    "syncbn": "False",
    "early_stopping": "True",
    "early_stopping_min_epochs": "5",
    "early_stopping_patience": "4",
    "early_stopping_tolerance": "0.0",
}
IMAGE_CLASSIFICATION = {
    "num_layers": "18",
    "image_shape": "3,32,32",
    "num_classes": "4",
    "num_training_samples": "16",
    "use_pretrained_model": "0",
    "augmentation_type": "crop_color_transform",
    "resize": "40",
    "mini_batch_size": "8",
    "epochs": "1",
    "learning_rate": "0.1",
    "lr_scheduler_factor": "0.1",
    "lr_scheduler_step": "10,20",
    "optimizer": "sgd",
    "momentum": "0.9",
    "weight_decay": "0.0001",
    "beta_1": "0.9",
    "beta_2": "0.999",
    "eps": "1e-8",
    "gamma": "0.9",
    "multi_label": "0",
    "use_weighted_loss": "1",
    "top_k": "2",
    "precision_dtype": "float32",
    "checkpoint_frequency": "1",
    "kv_store": "dist_sync",
    "early_stopping": "False",
    "early_stopping_min_epochs": "10",
    "early_stopping_patience": "5",
    "early_stopping_tolerance": "0",
}


def run(paths: MlPaths, hyperparameters: dict[str, str]) -> int:
    write_hyperparameters(paths, hyperparameters | QUICK | {"num_workers": "0"})
    return run_train(paths)


def test_semantic_segmentation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = MlPaths(tmp_path)
    make_segmentation_set(paths.channels, count_train=8, count_validation=4, size=64)
    assert run(paths, SEMANTIC_SEGMENTATION) == 0
    config, _ = artifact.load(paths.model)
    assert (config.model.architecture, config.model.encoder) == ("pspnet", "resnet50")
    assert (config.preprocess.height, config.preprocess.width) == (64, 64)
    log = capsys.readouterr().out
    assert log.count("hyperparameter gamma2 has no effect") == 1


def test_image_classification(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = MlPaths(tmp_path)
    make_classification_set(paths.channels, count_train=16, count_validation=8, size=48)
    classes = len([folder for folder in paths.channel("train").iterdir() if folder.is_dir()])
    assert run(paths, IMAGE_CLASSIFICATION | {"num_classes": str(classes)}) == 0
    config, _ = artifact.load(paths.model)
    assert config.model.architecture == "resnet18"
    assert (config.preprocess.resize, config.preprocess.height) == ("short_side", 32)
    log = capsys.readouterr().out
    assert "validation:accuracy=" in log
    assert log.count("hyperparameter kv_store has no effect") == 1
