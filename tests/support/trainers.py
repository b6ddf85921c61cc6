"""Trainers of small drawn images, without the job around them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

from byoc_vision.data.formats import find_dataset
from byoc_vision.data.preflight import check
from byoc_vision.data.sample_data import make_classification_set
from byoc_vision.data.samples import DataOptions
from byoc_vision.hyperparameters import parse
from byoc_vision.job import Job
from byoc_vision.launch.distributed import World
from byoc_vision.paths import MlPaths
from byoc_vision.report.record import Record
from byoc_vision.training.batch_layout import Progress
from byoc_vision.training.build import assemble
from byoc_vision.training.data_partition import DataPartition
from byoc_vision.training.trainer import Trainer

SMALL = {"model": "test_resnet", "image_size": "32", "batch_size": "4", "num_workers": "0", "cache": "off"}
ALONE = World()


def small_trainer(
    root: Path,
    world: World = ALONE,
    count: int = 24,
    clock: Callable[[], float] | None = None,
    **hyperparameters: str,
) -> Trainer:
    """A classifier of `count` images: six steps an epoch, if no other batch size is given."""
    paths = MlPaths(root)
    make_classification_set(paths.channels, count_train=count, count_validation=4, size=32)
    job, parsed = Job.load(paths), parse(SMALL | hyperparameters)
    dataset = check(find_dataset(job.folders, DataOptions()), DataOptions()).dataset
    return assemble(job, parsed, DataPartition.shared(dataset, world, seed=0), world, clock=clock)


def train(trainer: Trainer, epoch: int, batch: int = 0, steps: int | None = None) -> Progress:
    """The steps of an epoch from `batch` on, or `steps` of them, without validation."""
    progress = trainer.progress
    progress.begin(epoch, trainer.learning_rate)
    progress.batch = batch
    trainer.begin_epoch()
    for batches in itertools.islice(trainer.batches(), steps):
        progress.add(trainer.step(batches), len(batches))
    trainer.end_of_steps()
    return progress


def end(trainer: Trainer) -> Record:
    """End a training that `train` began; its record."""
    trainer.callbacks.train_end(trainer.run("finished"))
    trainer.close()
    return trainer.run("finished")
