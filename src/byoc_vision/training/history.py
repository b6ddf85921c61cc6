"""Epoch after epoch: train, evaluate, report, keep the best."""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from byoc_vision.errors import InputError
from byoc_vision.training.early_stopping import EarlyStopping
from byoc_vision.training.resolve_config import Objective
from byoc_vision.training.throughput import Throughput

logger = logging.getLogger(__name__)

Figures = dict[str, float]

MOST_FIGURES = 40  # that a line of the log holds
_OF_ONE_CLASS = re.compile(":(iou|f1)_")


class Epochs(Protocol):
    """What `fit` drives: one epoch of training, one pass over the validation images."""

    def train(self, epoch: int) -> float: ...

    def validate(self) -> Figures: ...

    @property
    def throughput(self) -> Throughput:
        """Of the training of the last epoch."""
        ...


@dataclass(frozen=True)
class EpochRecord:
    """What an epoch came to. `learning_rate` is the one it began with.

    seconds: with its validation. images_per_second, data_wait: of its training alone, see `Throughput`.
    """

    epoch: int
    learning_rate: float
    train_loss: float
    validation: Figures
    seconds: float
    images_per_second: float = 0.0
    data_wait: float = 0.0


@dataclass
class History:
    """All epochs so far, and the best of them."""

    objective: Objective
    records: list[EpochRecord] = field(default_factory=list)
    best: EpochRecord | None = None

    def add(self, record: EpochRecord) -> bool:
        """Whether this epoch is the best so far."""
        self.records.append(record)
        if self.best is None or self._better(record, self.best):
            self.best = record
            return True
        return False

    def _better(self, one: EpochRecord, other: EpochRecord) -> bool:
        difference = one.validation[self.objective.name] - other.validation[self.objective.name]
        return difference > 0 if self.objective.mode == "max" else difference < 0


def fit(
    epochs: Epochs,
    count: int,
    history: History,
    *,
    learning_rate: Callable[[], float],
    early_stopping: EarlyStopping | None,
    keep: Callable[[EpochRecord], None],
    after_epoch: Callable[[EpochRecord, bool], None],
    is_enough: Callable[[EpochRecord], bool] = lambda record: False,
    diagnosis: Callable[[], str] = lambda: "",
) -> History:
    """Train until there are `count` epochs in `history`, or `early_stopping` or `is_enough` says enough.

    `keep` is called with each epoch that is the best so far, and then `after_epoch` with each, and whether it is the
    last. Raises InputError where the loss is no longer a number, and says why where `diagnosis` does; what was kept
    before stays.
    """
    for epoch in range(len(history.records) + 1, count + 1):
        started, rate = time.monotonic(), learning_rate()
        train_loss = epochs.train(epoch)
        if not math.isfinite(train_loss):
            cause = f" ({diagnosis()})" if diagnosis() else ""
            raise InputError(
                f"learning_rate: the training loss is {train_loss} in epoch {epoch}: the training diverged at a "
                f"learning rate of {rate:g}{cause}. Lower it (a tenth is a good next try), or set clip_grad_norm=1"
            )
        speed = epochs.throughput
        record = EpochRecord(
            epoch,
            rate,
            train_loss,
            epochs.validate(),
            time.monotonic() - started,
            images_per_second=speed.images_per_second,
            data_wait=speed.data_wait,
        )
        logger.info(epoch_line(record))
        if history.add(record):
            keep(record)
        enough = False
        if early_stopping and early_stopping.should_stop(epoch, record.validation[history.objective.name]):
            enough = True
            logger.info("Stopped early: no better %s for %d epochs", history.objective.name, early_stopping.patience)
        enough = is_enough(record) or enough
        after_epoch(record, enough or epoch == count)
        if enough:
            break
    return history


def epoch_line(record: EpochRecord) -> str:
    """One line an epoch, in a stable form that SageMaker's metric regexes read."""
    figures = figures_line({"train:loss": record.train_loss} | named("validation", record.validation))
    return (
        f"epoch={record.epoch} {figures} learning_rate={record.learning_rate:.3g} seconds={record.seconds:.1f} "
        f"images_per_second={record.images_per_second:.1f} data_wait={record.data_wait:.0%}"
    )


def figures_line(figures: Figures) -> str:
    """`name=value` of each figure. With very many classes their own figures are left to metrics.json."""
    if len(figures) > MOST_FIGURES:
        figures = {name: value for name, value in figures.items() if not _OF_ONE_CLASS.search(name)}
    return " ".join(f"{name}={value:.4f}" for name, value in figures.items())


def named(prefix: str, figures: Mapping[str, float]) -> Figures:
    return {f"{prefix}:{name}": value for name, value in figures.items()}
