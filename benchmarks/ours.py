"""Our training as in a job, one epoch or one step at a time."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor

from byoc_vision.data.samples import Dataset
from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.job import Job
from byoc_vision.launch.distributed import World
from byoc_vision.paths import MlPaths
from byoc_vision.training.build import assemble
from byoc_vision.training.data_partition import DataPartition
from byoc_vision.training.step import Step
from byoc_vision.training.trainer import Trainer


class Ours:
    """Use it as a context: its cache is removed at the end."""

    def __init__(
        self,
        dataset: Dataset,
        folder: Path,
        model: str,
        encoder: str | None,
        size: int,
        batch: int,
        workers: int | None,
        epochs: int,
        cache: str = "auto",
    ) -> None:
        hyperparameters = Hyperparameters.model_validate(
            {
                "model": model,
                "encoder": encoder,
                "pretrained": False,
                "image_size": (size, size),
                "batch_size": batch,
                "epochs": epochs,
                "num_workers": workers,
                "cache": cache,
            }
        )
        self._trainer = build(dataset, MlPaths(folder), hyperparameters)
        self._epoch = 0
        self._batch: tuple[Tensor, Tensor] | None = None
        self._compiled: Step | None = None
        self.seconds_to_compile = 0.0  # with the first step

    def __enter__(self) -> Ours:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._trainer.close()

    @property
    def workers(self) -> int:
        return self._trainer.loader.num_workers

    @property
    def precision(self) -> str:
        return self._trainer.step.precision.name

    @property
    def data_wait(self) -> float:
        """The value of the last epoch, 0–1."""
        return self._trainer.timer.throughput.data_wait

    def epoch(self) -> float:
        """Train an epoch. Returns the images per second."""
        self._epoch += 1
        train(self._trainer, self._epoch)
        return self._trainer.timer.throughput.images_per_second

    def steps(self) -> float:
        """Run an epoch's number of steps on one batch that is on the device. Returns the images per second."""
        return self._steps(self._trainer.step)

    def compiled(self) -> float:
        """Like `steps`, with the model compiled by torch.compile in the first call."""
        if self._compiled is None:
            model = torch.compile(self._trainer.step.model)
            self._compiled = replace(self._trainer.step, model=model)
            started = time.perf_counter()
            self._steps(self._compiled, count=1)
            self.seconds_to_compile = time.perf_counter() - started
        return self._steps(self._compiled)

    def _steps(self, step: Step, count: int | None = None) -> float:
        if self._batch is None:
            example = next(iter(self._trainer.loader))
            images = example.image.to(step.device, memory_format=torch.channels_last)
            self._batch = images, example.target.to(step.device)
        started, count = time.perf_counter(), count or len(self._trainer.loader)
        step.begin()
        for _ in range(count):
            step([self._batch])
        if step.device.type == "cuda":
            torch.cuda.synchronize()
        return count * len(self._batch[0]) / (time.perf_counter() - started)


def build(dataset: Dataset, paths: MlPaths, hyperparameters: Hyperparameters) -> Trainer:
    return assemble(Job(paths), hyperparameters, DataPartition.shared(dataset, World(), hyperparameters.seed), World())


def train(trainer: Trainer, epoch: int) -> None:
    """The steps of an epoch, without validation."""
    trainer.progress.begin(epoch)
    trainer.begin_epoch()
    for batches in trainer.batches():
        trainer.progress.add(trainer.step(batches), len(batches))
    trainer.end_of_steps()
