"""The training loop: from the first step, or from a checkpoint, to the best model and its test.

`Trainer.train` reads from top to bottom. build.py makes a trainer whole; callbacks/ follow it.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import nn
from tqdm import tqdm

from byoc_vision import __version__
from byoc_vision.artifact import ModelConfig
from byoc_vision.data.cache import ImageCache
from byoc_vision.data.loaders import TrainingLoader
from byoc_vision.evaluation.epoch_record import EpochRecord
from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.launch.distributed import StopSync, World, any_process, sum_over_processes
from byoc_vision.launch.signals import StopRequestedError, StopSignals
from byoc_vision.models.parts import Encoder
from byoc_vision.recipe.linear_probe import LinearProbe
from byoc_vision.report.record import State
from byoc_vision.training import checkpoint
from byoc_vision.training.batch_layout import BatchLayout, Length, Progress, in_groups
from byoc_vision.training.best_model import BestModel
from byoc_vision.training.budget import Budget
from byoc_vision.training.callback import Callbacks
from byoc_vision.training.callbacks.health import Health
from byoc_vision.training.callbacks.run_record import RunRecord
from byoc_vision.training.callbacks.step_timer import StepTimer
from byoc_vision.training.data_partition import DataPartition
from byoc_vision.training.history import EarlyStopping, History, diverged
from byoc_vision.training.initial_weights import FirstWeights
from byoc_vision.training.step import Batch, Step
from byoc_vision.training.weight_average import WeightAverage

logger = logging.getLogger(__name__)


@dataclass
class Trainer:
    """A training, and all that changes in its course. Every process has one; the main process alone writes.

    net: the network whose weights are saved; step.model: the same with its normalisation and, in several processes,
        the averaging of gradients.
    loader: this process's batches. partition: the samples, and which of them are this process's.
    timer, health: two of the callbacks. encoder: what does not learn in the first `freeze_epochs` epochs.
    first_weights: where they come from without a checkpoint. average: of the weights. probe: measures the floor.
    """

    hyperparameters: Hyperparameters
    world: World
    config: ModelConfig
    net: nn.Module
    step: Step
    loader: TrainingLoader
    partition: DataPartition
    layout: BatchLayout
    length: Length
    history: History
    best: BestModel
    run: RunRecord
    checkpointer: checkpoint.Checkpointer
    signals: StopSignals
    stop: StopSync
    callbacks: Callbacks
    timer: StepTimer
    health: Health
    early_stopping: EarlyStopping | None = None
    encoder: Encoder | None = None
    cache: ImageCache | None = None
    first_weights: FirstWeights = field(default_factory=FirstWeights)
    average: WeightAverage | None = None
    probe: LinearProbe | None = None
    budget: Budget | None = None
    progress: Progress = field(default_factory=Progress)
    complete: bool = False  # no epoch follows
    _frozen: bool = False
    _epoch_started: float = 0.0
    _ended: bool = False

    def __post_init__(self) -> None:
        self.progress.sums = self.progress.sums.to(self.step.device)

    def train(self) -> None:
        """Train all epochs that are left, and test the best model.

        A request to stop leaves a usable model and a checkpoint to continue from. A failure is in the record, too.

        Raises:
            InputError: the loss is not a number, or the checkpoint is of another model.
            UserError: the data or the resources of the job do not suffice.
        """
        with self._recorded():
            if not (resumes := self.checkpointer.load(self)):
                self.first_weights.log()
            self.callbacks.train_begin(self.run())
            self.signals.training = True
            try:
                if self.probe and not resumes:
                    self.checkpointer.keep_best(*self.best.measure_floor(self.probe, self._is_asked_to_stop))
                if self.budget and not self.complete:
                    self.budget.begin(*self.steps_of_epoch)
                while not self.complete:
                    self.begin_epoch()
                    for batches in self.batches():
                        self.progress.add(self.step(batches), len(batches))
                        if self.average:
                            self.average.update()
                        if self._save_or_stop():
                            break
                    train_loss = self.end_of_steps()
                    if self._stopped_by_rule(train_loss):
                        break
                    record = self.evaluate(train_loss)
                    if self.history.add(record):
                        self.checkpointer.keep_best(*self.best.save(record))
                    self.complete = self._is_last(record)
                    self.length.end_epoch(*self.steps_of_epoch)
                    self.progress.begin(record.epoch + 1)
                    self._save_if_due(record)
                    self.callbacks.epoch_end(self.run())
                    self._leave_if_asked()
                    if record.epoch == 1:
                        self.partition.check_test(self.world)
                self.checkpointer.wait()
                self.best.test(self._is_asked_to_stop)
                self._end(*self._outcome())
            except StopRequestedError:
                self._leave_resumable()

    # An epoch

    def begin_epoch(self) -> None:
        """Begin the epoch of `progress`, or continue it after the batches that are done."""
        self._epoch_started = time.monotonic()
        if self.progress.batch == 0:
            self.progress.begin(self.progress.epoch, self.learning_rate)
        epoch, batch = self.progress.epoch, self.progress.batch
        self._freeze_or_unfreeze(epoch)
        self.loader.set_epoch(epoch, batch)
        self.callbacks.epoch_begin(epoch, batch // self.layout.accumulate_steps)
        self.step.begin()
        if self.budget:
            self.budget.begin_epoch()

    def batches(self) -> Iterator[list[Batch]]:
        """The batches that are left of the epoch, in groups for one step each; the last group may be smaller."""
        if self.is_long_enough:
            return
        total = min(len(self.loader), self.length.steps_in(self.progress.epoch) * self.layout.accumulate_steps)
        name, disable = f"epoch {self.progress.epoch}", None if self.world.is_main else True  # None: only on a terminal
        with tqdm(self.loader, name, total, False, unit="batch", initial=self.progress.batch, disable=disable) as bar:
            for group in in_groups(self.timer.watch(bar), self.layout.accumulate_steps):
                yield group
                if self.is_long_enough:  # the last pass may be cut short
                    return

    def end_of_steps(self) -> float:
        """The mean training loss of the epoch, over all processes. Raises StopRequestedError in all of them."""
        self.callbacks.epoch_trained()
        self.timer.gather_throughput(self.world)
        self._leave_if_asked()
        total = sum_over_processes(self.progress.sums.clone(), self.world)
        return float(total[0] / total[1])

    def evaluate(self, train_loss: float) -> EpochRecord:
        """Evaluate the validation images. Raises InputError if the loss is not a number."""
        epoch, rate = self.progress.epoch, self.progress.learning_rate
        if not math.isfinite(train_loss):
            raise diverged(epoch, rate, train_loss, self.health.monitor.evidence("ExplodingTensor"))
        measured = self.best.validate(self._is_asked_to_stop, epoch)
        found, speed, seconds = measured.metrics, self.timer.throughput, time.monotonic() - self._epoch_started
        speeds = speed.images_per_second, speed.data_wait
        record = EpochRecord(epoch, rate, train_loss, found, seconds, *speeds, averaged=measured.averaged)
        if self.world.is_main:  # SageMaker reads the metrics from every host's log
            logger.info(record.line(len(self.config.classes)))
        return record

    @property
    def steps_of_epoch(self) -> tuple[int, int]:
        """The epoch, and the steps of it that are made."""
        return self.progress.epoch, self.layout.steps_of(self.progress.batch)

    @property
    def is_long_enough(self) -> bool:
        return self.length.made(*self.steps_of_epoch) >= self.length.steps

    @property
    def learning_rate(self) -> float:
        return float(self.step.schedule.get_last_lr()[0])

    def _freeze_or_unfreeze(self, epoch: int) -> None:
        """What learns in an epoch depends on the epoch alone, so a resumed run learns the same."""
        if self.encoder is None or not self.hyperparameters.freeze_epochs:
            return
        frozen = epoch <= self.hyperparameters.freeze_epochs
        if frozen == self._frozen:
            return
        self._frozen = frozen
        self.encoder.freeze(frozen)
        is_fixed = frozen or self.hyperparameters.freeze_batch_norm
        self.step = self.step.with_other_parameters(self.encoder.batch_norms if is_fixed else ())
        logger.info("Epoch %d: the encoder %s", epoch, "is frozen, the head learns" if frozen else "learns too")

    # When to save and when to stop: the same in all processes

    def _save_or_stop(self) -> bool:
        """After a step: save a checkpoint if one is due. Returns whether to leave the epoch."""
        if self.budget:
            self.budget.after_step(*self.steps_of_epoch)
        due = self.checkpointer.after_step(self)
        stop, save = self.stop(self.signals.requested or self.health.stop, due)
        if save:
            self.checkpointer.save(self, proven=False)
        return stop

    def _save_if_due(self, record: EpochRecord) -> None:
        sound = math.isfinite(record.validation.get("loss", 0.0))
        if sound and (self.complete or self.checkpointer.due_by_epoch(record.epoch)):
            self.checkpointer.save(self)

    def _is_last(self, record: EpochRecord) -> bool:
        """Whether no epoch follows."""
        if self.budget:
            self.budget.after_evaluation(*self.steps_of_epoch)
        last = self.is_long_enough
        objective = self.history.objective.name
        if self.early_stopping and self.early_stopping.should_stop(record.epoch, record.validation[objective]):
            logger.info("Stopped early: no better %s for %d epochs", objective, self.early_stopping.patience)
            last = True
        self.health.judge_epoch(self.run.times())
        return any_process(self.health.stop, self.world, self.step.device) or last

    def _stopped_by_rule(self, train_loss: float) -> bool:
        """Whether a health rule ends the training within the epoch. As with early stopping, the best model is left.

        An epoch that is complete is evaluated first; a model whose loss is not a number cannot be.
        """
        if not any_process(self.health.stop, self.world, self.step.device):
            return False
        has_best = self.history.best is not None
        sound, complete = math.isfinite(train_loss), self.progress.batch >= len(self.loader)
        if (sound and complete) or (not sound and not has_best):
            return False
        logger.info("A health rule ends the training in epoch %d", self.progress.epoch)
        self.best.save_unfinished()
        self.complete = has_best
        self.checkpointer.save(self)
        return True

    def _leave_if_asked(self) -> None:
        if any_process(self.signals.requested, self.world, self.step.device):
            raise StopRequestedError

    def _is_asked_to_stop(self) -> bool:
        self.callbacks.batch_validated()
        return self.signals.requested

    def _leave_resumable(self) -> None:
        """Asked to stop: leave a usable model, and a checkpoint to continue from."""
        epoch, batch = self.progress.epoch, self.progress.batch
        logger.info("Asked to stop in epoch %d after %d of its batches", epoch, batch)
        self.best.save_unfinished()
        self.checkpointer.save(self)
        self.checkpointer.wait()
        if self.checkpointer.store and self.world.is_main:
            logger.info("The job goes on from the checkpoint in %s when it restarts", self.checkpointer.store.folder)
        self._end("interrupted", f"asked to stop in epoch {epoch}")

    def _outcome(self) -> tuple[State, str | None]:
        """How the training ended, and why."""
        if rule := self.health.monitor.stopped_by:
            return "stopped_by_rule", f"{rule.rule}: {rule.evidence}"
        return "stopped_early" if self.length.before < self.length.steps else "finished", None

    @contextmanager
    def _recorded(self) -> Iterator[None]:
        """An error that ends the training is in the record, too. The cache is removed."""
        try:
            with self.partition.unreadable_named(self.hyperparameters.on_bad_sample):
                yield
        except StopRequestedError:
            self._end("interrupted", "asked to stop before training began")
            raise
        except BaseException as error:
            self._end("failed", f"{error}" or type(error).__name__)
            raise
        finally:
            self.close()

    def _end(self, state: State, reason: str | None = None) -> None:
        """Only the first end counts."""
        if not self._ended:
            self._ended = True
            self.callbacks.train_end(self.run(state, reason))

    def close(self) -> None:
        if self.cache:  # what the job kept for itself
            self.cache.close()

    # Its state

    def state_dict(self, processes: list[dict[str, Any]]) -> dict[str, Any]:
        """A checkpoint. processes: the generators and the summed losses of each process."""
        return {
            "package_version": __version__,
            "card": self.config.model_dump(mode="json"),
            "hyperparameters": self.hyperparameters.model_dump(mode="json"),
            "first_weights": self.first_weights.state_dict(),
            "grid": self.layout.as_dict(),
            "data": self.partition.fingerprint.state_dict() if self.partition.fingerprint else None,
            "progress": self.progress.state_dict(),
            "before": self.length.steps_before(self.progress.epoch),
            "length": self.length.state_dict(),
            "budget": self.budget.state_dict() if self.budget else None,
            "steps": self.step.schedule.last_epoch,
            "complete": self.complete,
            **self.history.state_dict(),
            "early_stopping": self.early_stopping.state_dict() if self.early_stopping else None,
            "health": self.health.monitor.state_dict(),
            "model": self.net.state_dict(),
            **self.best.state_dict(),
            "optimizer": checkpoint.optimizer_state(self.step.optimizer, self.net),
            "scaler": self.step.scaler.state_dict(),
            "precision": self.step.precision.name,
            "processes": processes,
        }

    def load_state_dict(self, content: dict[str, Any]) -> None:
        """Load a checkpoint, and save its best model again."""
        self.net.load_state_dict(content["model"])
        self.best.load_state_dict(content)
        if content["hyperparameters"]["optimizer"] == self.hyperparameters.optimizer:
            checkpoint.set_optimizer_state(self.step.optimizer, self.net, content["optimizer"])
        else:
            logger.info("The optimiser is another one: it starts without the old one's averages")
        if self.step.scaler.is_enabled() and content["scaler"]:
            self.step.scaler.load_state_dict(content["scaler"])
        self.history.load_state_dict(content)
        if self.early_stopping and content["early_stopping"]:
            self.early_stopping.load_state_dict(content["early_stopping"])
        if health := content.get("health"):  # older checkpoints have none
            self.health.monitor.load_state_dict(health)
        if content["best"]:
            self.best.restore(content["best"])
        self._load_position(content)

    def load_weights(self, content: dict[str, Any]) -> None:
        self.net.load_state_dict(content["model"])
        self.best.load_state_dict({})
        logger.info("Training starts from the checkpoint's weights, at epoch 1")

    def measure_best_again(self) -> None:
        """Of the best model so far, on the present validation images: later epochs are compared with it."""
        if self.history.best is None:
            return
        metrics, config = self.best.measure_again(self._is_asked_to_stop)
        if self.early_stopping:
            self.early_stopping.load_state_dict({"best": metrics[self.history.objective.name], "waited": 0})
        self.checkpointer.keep_best(config, self.best.weights())

    def _load_position(self, content: dict[str, Any]) -> None:
        """In another layout of batches an unfinished epoch restarts; the weights stay."""
        saved, steps = content["progress"], content["steps"]
        before = (saved["epoch"] - 1) * self.layout.steps_per_epoch
        if self.hyperparameters.steps or self.budget or content["grid"] == self.layout.as_dict():
            before = content.get("before", before)  # older checkpoints have none
        self.length.go_on(saved["epoch"], before)
        if self.budget:
            self.budget.load_state_dict(content, saved["epoch"])
        if content["grid"] == self.layout.as_dict():
            process = content["processes"][self.world.rank]
            self.progress.epoch, self.progress.batch = saved["epoch"], saved["batch"]
            self.progress.learning_rate = saved["learning_rate"]
            self.progress.sums.copy_(process["sums"])
            checkpoint.set_random_state(process["random"])
        else:
            steps = before
            self.progress.begin(saved["epoch"])
            if saved["batch"]:
                logger.info("Batch layout changed since the checkpoint; restarting epoch %d", saved["epoch"])
        checkpoint.set_schedule_steps(self.step.schedule, steps)
        self.complete = checkpoint.has_ended(content, self.hyperparameters, before >= self.length.steps)
        if not self.complete:
            at = (self.progress.epoch, self.progress.batch, self.layout.batches)
            logger.info("Going on from the checkpoint: epoch %d, after %d of its %d batches", *at)
