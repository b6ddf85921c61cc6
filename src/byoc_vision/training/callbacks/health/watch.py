"""A job's health rules, joined to its trainer: what the session asks, and tells."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from byoc_vision.data.preflight.report import PreflightReport
from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.report.record import Finding, Times
from byoc_vision.training.loader_diagnosis import measure, remedy
from byoc_vision.training.distributed import gathered
from byoc_vision.training.callbacks.health.facts import DataFacts, EpochFacts, EpochFigures, Readings, Silence, Waiting
from byoc_vision.training.callbacks.health.monitor import HealthMonitor
from byoc_vision.training.callbacks.health.observer import HealthObserver
from byoc_vision.hyperparameters.health import read_settings
from byoc_vision.training.callbacks.health.stall import StallWatch
from byoc_vision.training.callbacks.health.steps import StalledTraining
from byoc_vision.training.parallel import bare
from byoc_vision.training.resolve_config import Objective
from byoc_vision.training.trainer import Trainer


class StoppedByRuleError(Exception):
    """A health rule ends the training in the middle of an epoch. Raised in all processes together."""


class HealthWatch:
    """Every process has one, and calls all of its methods. The first alone judges; the others tell it their figures.

    readings: whoever looks at the machine, where that is done.
    """

    def __init__(
        self,
        trainer: Trainer,
        hyperparameters: Hyperparameters,
        objective: Objective,
        readings: Readings | None = None,
    ) -> None:
        self.monitor = HealthMonitor(read_settings(hyperparameters.health_action, hyperparameters.health_thresholds))
        self.readings = readings
        self._trainer = trainer
        self._hyperparameters = hyperparameters
        self._objective = objective
        self._epoch = 1
        self._peaks: list[int] = []
        self._seen = 0  # readings of the epochs before
        self._stall: StallWatch | None = None
        self._observer = self._observe() if trainer.world.is_first and not self.monitor.is_idle else None

    @property
    def findings(self) -> list[Finding]:
        """Of the run so far, in the order in which they were found; none but in the first process."""
        return self.monitor.findings

    @property
    def stopped_by(self) -> Finding | None:
        """The finding that ends the training; in the first process."""
        return self.monitor.stopped_by

    @property
    def stopping(self) -> bool:
        """Whether a rule ends the training."""
        return self.stopped_by is not None

    @property
    def diagnosis(self) -> str:
        """Why the loss is no number any more, as far as is known."""
        return self.monitor.evidence("ExplodingTensor")

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Notice while the context lasts that no step is made any more."""
        rule = self.monitor.rule(StalledTraining)
        if rule is None or self._observer is None:
            yield
            return
        with StallWatch(rule.seconds, self._stalled) as self._stall:
            yield
        self._stall = None

    def beat(self) -> None:
        """Something was done: a step, a validated batch."""
        if self._stall:
            self._stall.beat()

    def judge_data(self, report: PreflightReport) -> None:
        """Before the first epoch."""
        if self._observer:
            asked = self._hyperparameters
            amounts = {entry.name: float(entry.pixel_share or entry.in_training) for entry in report.classes}
            balanced = asked.class_weights != "none" or asked.sampling != "natural"
            self.monitor.judge(DataFacts(report.task, amounts, balanced), self._epoch)

    def epoch_begins(self, epoch: int, batches: int = 0) -> None:
        """batches: those of it that are done already."""
        self._epoch = epoch
        self.beat()
        if self._observer:
            self._observer.epoch_begins(epoch, batches // self._trainer.accumulate_steps)

    def training_ends(self) -> None:
        """Of the epoch, or of as much of it as was trained."""
        if self._observer:
            self._observer.epoch_ends()

    def epoch_ends(self, epochs: Sequence[EpochFigures]) -> None:
        """With its validation. epochs: all so far."""
        shares = gathered(self._trainer.throughput.own_wait, self._trainer.world)
        if self._observer is None:
            return
        times = self.readings.times() if self.readings else Times()
        self._note_peak(times)
        facts = EpochFacts(
            epochs=epochs,
            objective=self._objective.name,
            mode=self._objective.mode,
            planned=self._hyperparameters.epochs,
            stops_early=self._hyperparameters.early_stopping,
            step_seconds=self._observer.step_seconds,
            waiting=self._waiting(shares),
            times=times,
            peaks=self._peaks,
            batch_size=self._hyperparameters.batch_size,
        )
        self.monitor.judge(facts, self._epoch)

    def state_dict(self) -> dict[str, Any]:
        return self.monitor.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.monitor.load_state_dict(state)

    def _observe(self) -> HealthObserver:
        """Look on at the trainer's steps."""
        step, rule = self._trainer.step, self._trainer.config.preprocess
        observer = HealthObserver(
            self.monitor,
            bare(step.model),
            self._trainer.net,
            step.optimizer,
            step.device,
            step.precision.autocast,
            mean=rule.mean,
            std=rule.std,
            scaled=step.scaler.is_enabled(),
        )
        self._trainer.step = replace(step, observers=(*step.observers, observer))
        return observer

    def _stalled(self, silence: Silence) -> None:
        self.monitor.judge(silence, self._epoch)

    def _waiting(self, shares: Sequence[float]) -> Waiting:
        trainer = self._trainer
        cached = trainer.cache is not None and not trainer.cache.is_full
        return Waiting(
            share=trainer.throughput.data_wait,
            seconds=trainer.throughput.waited,
            loading=functools.cache(lambda: measure(trainer.batches.dataset, cached=cached)),
            remedy=remedy(trainer.cache, trainer.batches.num_workers, on_gpu=trainer.step.device.type == "cuda"),
            shares=shares,
        )

    def _note_peak(self, times: Times) -> None:
        """The most GPU memory in the readings since the last epoch, where there are any."""
        memory = [reading.gpu_memory for reading in times.readings[self._seen :] if reading.gpu_memory is not None]
        self._seen = len(times.readings)
        if memory:
            self._peaks.append(max(memory))
