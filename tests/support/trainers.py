"""Trainers of small drawn images, without the job around them."""

from __future__ import annotations

from pathlib import Path

import torch

from byoc_vision.data.formats import find_dataset
from byoc_vision.data.preflight import check
from byoc_vision.data.sample_data import make_classification_set
from byoc_vision.data.samples import DataOptions
from byoc_vision.hyperparameters import Hyperparameters, parse
from byoc_vision.job import Job
from byoc_vision.paths import MlPaths
from byoc_vision.training.batch_layout import Progress
from byoc_vision.training.build import build_trainer
from byoc_vision.training.data_partition import Work
from byoc_vision.training.distributed import World
from byoc_vision.training.trainer import Trainer

SMALL = {"model": "test_resnet", "image_size": "32", "batch_size": "4", "num_workers": "0", "cache": "off"}


def small_trainer(root: Path, count: int = 24, **hyperparameters: str) -> tuple[Trainer, Hyperparameters]:
    """A classifier of `count` images: six steps an epoch, if nothing else is asked for."""
    paths = MlPaths(root)
    make_classification_set(paths.channels, count_train=count, count_validation=4, size=32)
    job, parsed = Job.load(paths), parse(SMALL | hyperparameters)
    dataset = check(find_dataset(job.folders, DataOptions()), DataOptions()).dataset
    return build_trainer(job, parsed, Work.shared(dataset, World(), seed=0), World()), parsed


def train(trainer: Trainer, epoch: int, batch: int = 0, steps: int | None = None) -> Progress:
    """An epoch from `batch` on, or `steps` of it."""
    progress = Progress(sums=torch.zeros(2, dtype=torch.float64))
    progress.begin(epoch, trainer.learning_rate())
    progress.batch = batch
    left = iter(range(1, steps or 10**6))
    trainer.train(epoch, progress, lambda: next(left, None) is None)
    return progress
