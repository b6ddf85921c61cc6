"""A trainer of a tiny network on batches and validation images that a test makes up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from support.tracked import record_of
from torch import nn

from byoc_vision.artifact import ModelConfig
from byoc_vision.data.loaders import EvaluationBatch
from byoc_vision.data.samples import Dataset, Sample
from byoc_vision.evaluation.evaluator import Evaluator
from byoc_vision.evaluation.metric_names import Objective
from byoc_vision.health.monitor import HealthMonitor
from byoc_vision.hyperparameters import parse
from byoc_vision.hyperparameters.health import read_settings
from byoc_vision.inference.engines.torch_engine import TorchEngine
from byoc_vision.inference.predictor import Predictor
from byoc_vision.launch.distributed import StopSync, World
from byoc_vision.launch.signals import StopSignals
from byoc_vision.models.losses import build_loss
from byoc_vision.paths import MlPaths
from byoc_vision.precision import choose_precision
from byoc_vision.preprocess import Preprocess
from byoc_vision.training.batch_layout import BatchLayout, Length
from byoc_vision.training.best_model import BestModel
from byoc_vision.training.budget import Budget
from byoc_vision.training.build import early_stopping
from byoc_vision.training.callback import Callback, Callbacks
from byoc_vision.training.callbacks.health import Health
from byoc_vision.training.callbacks.run_record import RunRecord
from byoc_vision.training.callbacks.step_timer import StepTimer
from byoc_vision.training.checkpoint import Checkpointer
from byoc_vision.training.data_partition import DataPartition
from byoc_vision.training.history import History
from byoc_vision.training.optimizers import build_optimizer, build_schedule, schedule_for
from byoc_vision.training.step import Batch, Step
from byoc_vision.training.trainer import Trainer
from byoc_vision.training.weight_average import Soup, WeightAverage
from byoc_vision.types import ClassInfo, ModelSpec

CPU, ALONE = torch.device("cpu"), World()
NAMES = ("red", "green", "blue")
IMAGES = 4  # of each batch, and to validate


class FakeLoader:
    """`count` batches of random colours an epoch; `loaded` are those that were asked for, as (epoch, batch)."""

    num_workers = 0
    dataset = None

    def __init__(self, count: int) -> None:
        self.count = count
        self.loaded: list[tuple[int, int]] = []
        self.set_epoch(1)

    def set_epoch(self, epoch: int, first_batch: int = 0) -> None:
        self.epoch, self.first_batch = epoch, first_batch

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Batch]:
        for batch in range(self.first_batch + 1, self.count + 1):
            self.loaded.append((self.epoch, batch))
            generator = torch.Generator().manual_seed(100 * self.epoch + batch)
            images = torch.randint(256, (IMAGES, 3, 4, 4), dtype=torch.uint8, generator=generator)
            yield images, torch.randint(3, (IMAGES,), generator=generator)


class FakeValidation:
    """Four red images a pass; the labels are such that so many of them count as right if all are taken for red."""

    def __init__(self, right: Sequence[int]) -> None:
        self._right = iter(right)

    def __iter__(self) -> Iterator[EvaluationBatch]:
        right = next(self._right)
        images = torch.zeros(IMAGES, 3, 4, 4, dtype=torch.uint8)
        images[:, 0] = 255
        targets = [np.array(0 if index < right else 1) for index in range(IMAGES)]
        yield EvaluationBatch(images, [4] * IMAGES, [4] * IMAGES, targets, list(range(IMAGES)), [])


class FakeNet(nn.Sequential):
    """The mean of each colour is the logit of its class."""

    def __init__(self) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
        with torch.no_grad():
            self[2].weight.copy_(torch.eye(3))
            self[2].bias.zero_()


class At(Callback):
    """Does something when a step begins."""

    def __init__(self, epoch: int, step: int, action: Callable[[], object]) -> None:
        self._when, self._action = (epoch, step), action
        self._now = (0, 0)

    def epoch_begin(self, epoch: int, step: int) -> None:
        self._now = (epoch, step)

    def step_begin(self) -> None:
        self._now = (self._now[0], self._now[1] + 1)
        if self._now == self._when:
            self._action()


def fake_trainer(
    root: Path,
    right: Sequence[int] = (1, 2, 3),
    *followers: Callback,
    batches: int = 2,
    signals: StopSignals | None = None,
    net: nn.Module | None = None,
    budget: Callable[[Length], Budget] | None = None,
    **hyperparameters: Any,
) -> Trainer:
    """As many epochs as there are numbers in `right`: of the validation images, those that count as right."""
    if budget:
        hyperparameters["budget"] = "1h"
    whole = {} if "steps" in hyperparameters else {"epochs": str(len(right))}
    asked = whole | {"learning_rate": "1e-3", "optimizer": "sgd", "checkpoint_minutes": "0"}
    parsed = parse(asked | hyperparameters)
    paths, net, precision = MlPaths(root), net or FakeNet(), choose_precision("float32", CPU)
    config = ModelConfig(
        model=ModelSpec(task="classification", architecture="test", outputs=3),
        classes=tuple(ClassInfo(name=name) for name in NAMES),
        activation="softmax",
        preprocess=Preprocess(height=4, width=4, mean=(0.5, 0.5, 0.5), std=(0.1, 0.1, 0.1)),
    )
    samples = tuple(Sample(Path(f"{index}.png"), label=0) for index in range(IMAGES))
    classes = tuple(ClassInfo(name) for name in NAMES)
    dataset = Dataset("classification", classes, samples, samples)
    partition = DataPartition.shared(dataset, ALONE, seed=0)
    engine, loader = TorchEngine(net, config, CPU, precision), FakeLoader(batches)
    layout = BatchLayout.of(parsed, dataset, batches, ALONE)
    length = Length.of(parsed, layout.steps_per_epoch)
    loss = build_loss("cross_entropy", "softmax", task="classification")
    evaluator = Evaluator(Predictor(config, engine), classes, IMAGES, loss=loss)
    validation, history, timer = FakeValidation(right), History(Objective("accuracy")), StepTimer(CPU)
    monitor = HealthMonitor(read_settings(parsed.health_action, parsed.health_thresholds))
    health = Health(monitor, parsed, history, timer, loader)  # type: ignore[arg-type]
    run = RunRecord(record_of(0), history, health, timer)
    callbacks = Callbacks([timer, health, *followers])
    optimizer = build_optimizer(parsed.optimizer, net, parsed.learning_rate)
    schedule = build_schedule("constant", optimizer, total_steps=100, steps_per_epoch=batches)
    limit = budget(length) if budget else None
    if limit:
        run.budget = limit.known
        schedule = schedule_for(optimizer, length, parsed)
    average = WeightAverage(net, parsed.ema_decay) if parsed.ema_decay else None
    soup = Soup(parsed.soup, history.objective) if parsed.soup else None
    step = Step(engine.model, loss, optimizer, schedule, precision, precision.scaler(), CPU, callbacks=callbacks)
    return Trainer(
        hyperparameters=parsed,
        world=ALONE,
        config=config,
        net=net,
        step=step,
        loader=loader,  # type: ignore[arg-type]
        partition=partition,
        layout=layout,
        length=length,
        history=history,
        best=BestModel(paths, config, net, ALONE, evaluator, validation, partition, 0, run, callbacks, average, soup),
        run=run,
        checkpointer=Checkpointer.of(paths, parsed, ALONE),
        signals=signals or StopSignals(),
        stop=StopSync(ALONE, CPU),
        callbacks=callbacks,
        timer=timer,
        health=health,
        early_stopping=early_stopping(parsed, history.objective),
        average=average,
        budget=limit,
    )
