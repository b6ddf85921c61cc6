"""A training that may be stopped at any step and resumed: what `fit` drives, between the trainer and checkpoints."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from byoc_vision import __version__, artifact
from byoc_vision.artifact import ModelConfig
from byoc_vision.hyperparameters import Hyperparameters
from byoc_vision.paths import MlPaths
from byoc_vision.report.record import State
from byoc_vision.training.answers.collector import Collector
from byoc_vision.training.checkpoint import Checkpoints
from byoc_vision.training.distributed import any_process, gathered, on_first, sum_over_processes
from byoc_vision.training.early_stopping import EarlyStopping
from byoc_vision.training.history import EpochRecord, Figures, History, named
from byoc_vision.training.callbacks.health.watch import HealthWatch, StoppedByRuleError
from byoc_vision.training.signals import Interruption, StopRequestedError
from byoc_vision.training.callbacks.run_report import Journal
from byoc_vision.training.packing import on_cpu
from byoc_vision.training.batch_layout import Grid, Progress
from byoc_vision.training.pulse import Pulse
from byoc_vision.training.random_state import random_state, set_random_state
from byoc_vision.training.resumption import changed, check_fits
from byoc_vision.training.callbacks.time_to_first_step import FirstStep
from byoc_vision.training.state import optimizer_state, set_optimizer_state, set_schedule_steps
from byoc_vision.training.throughput import Throughput
from byoc_vision.training.trainer import Trainer

logger = logging.getLogger(__name__)


@dataclass
class Session:
    """Everything that changes in the course of a training, in one place.

    collector: makes the one that looks on while the images of a split are answered.
    journal: in the first process.
    answered: whether the best model's answers to the validation images are in it.
    """

    paths: MlPaths
    hyperparameters: Hyperparameters
    trainer: Trainer
    history: History
    early_stopping: EarlyStopping | None
    checkpoints: Checkpoints | None
    interruption: Interruption
    progress: Progress
    grid: Grid
    pulse: Pulse
    first_step: FirstStep
    health: HealthWatch
    collector: Callable[[str], Collector]
    journal: Journal | None = None
    answered: bool = False
    _collector: Collector | None = None  # of the last pass over the validation images
    complete: bool = False  # no epoch is to follow

    # What `fit` drives

    def train(self, epoch: int) -> float:
        """The mean training loss over all processes.

        Raises StopRequestedError or StoppedByRuleError in all of them.
        """
        if self.progress.batch == 0:
            self.progress.begin(epoch, self.trainer.learning_rate())
        self.health.epoch_begins(epoch, self.progress.batch)
        self.trainer.train(epoch, self.progress, self._after_step)
        self.health.training_ends()
        self._leave_if_asked()
        total = sum_over_processes(self.progress.sums.clone(), self.trainer.world)
        loss = float(total[0] / total[1])
        self._end_if_a_rule_says_so(loss)
        return loss

    def validate(self) -> Figures:
        """The validation images' figures. Raises StopRequestedError in all processes."""
        self._collector = self.collector("validation")
        return self.trainer.validate(self._is_asked_to_stop, self._collector)

    def is_enough(self, record: EpochRecord) -> bool:
        """Whether a health rule says that no epoch is to follow; the same in all processes."""
        self.health.epoch_ends(self.history.records)
        return any_process(self.health.stopping, self.trainer.world, self.trainer.step.device)

    @property
    def throughput(self) -> Throughput:
        return self.trainer.throughput

    def learning_rate(self) -> float:
        """That the epoch under way began with, or the next one will."""
        return self.progress.learning_rate if self.progress.batch else self.trainer.learning_rate()

    def keep(self, record: EpochRecord) -> None:
        """The model is the best so far; to be called in all processes."""
        assert self._collector is not None, "an epoch is measured before it is kept"
        self.keep_answers(self._collector, record.validation, record.epoch)
        self.answered = True
        if self.trainer.world.is_first:
            config = self.trainer.config.model_copy(update={"metrics": named("validation", record.validation)})
            weights = self.trainer.net.state_dict()
            artifact.save(self.paths.model, config, weights)
            if self.checkpoints:
                self.checkpoints.keep_best(config, weights)

    def keep_answers(self, collector: Collector, figures: Figures, epoch: int | None) -> None:
        """What the best model, of that epoch, answered; to be called in all processes."""
        collected = collector.collected(figures, self.trainer.world, epoch)
        if self.journal and collected:
            self.journal.keep(collected)

    def after_epoch(self, record: EpochRecord, last: bool) -> None:
        """An epoch is trained, measured and recorded."""
        self.progress.next_epoch()
        self.complete = last
        sound = math.isfinite(record.validation.get("loss", 0.0))
        if self.checkpoints and sound and (last or self.checkpoints.due_by_epoch(record.epoch)):
            self.save()
        if self.journal:
            self.journal.epoch_is_over()
        self._leave_if_asked()

    def end(self, test: Figures | None) -> None:
        """All is trained, and the best model measured on the `test` channel where there is one."""
        if self.journal:
            self.journal.test = test
            self.journal.end(*self._ending())

    def _ending(self) -> tuple[State, str | None]:
        """How the training ended, and why."""
        if rule := self.health.stopped_by:
            return "stopped_by_rule", f"{rule.rule}: {rule.evidence}"
        return "stopped_early" if len(self.history.records) < self.hyperparameters.epochs else "finished", None

    def _after_step(self) -> bool:
        """Whether to leave the epoch; in the same step in all processes."""
        self.first_step()
        self.health.beat()
        due = False
        if self.checkpoints:
            self.checkpoints.check()
            if self.checkpoints.holds and torch.isfinite(self.progress.sums).all():
                self.checkpoints.confirm()
            due = self.checkpoints.due_by_time()
        agreed = self.pulse(self.interruption.requested or self.health.stopping, due)
        if agreed.checkpoint:
            self.save(proven=False)
        return agreed.stop

    def _leave_if_asked(self) -> None:
        if any_process(self.interruption.requested, self.trainer.world, self.trainer.step.device):
            raise StopRequestedError

    def _is_asked_to_stop(self) -> bool:
        self.health.beat()
        return self.interruption.requested

    def _end_if_a_rule_says_so(self, loss: float) -> None:
        """An epoch that is complete is measured first; a model of which no number comes out cannot be."""
        if not any_process(self.health.stopping, self.trainer.world, self.trainer.step.device):
            return
        sound, complete = math.isfinite(loss), self.progress.batch >= len(self.trainer.batches)
        if (sound and not complete) or (not sound and self.history.best):
            raise StoppedByRuleError

    # Saving

    def save(self, proven: bool = True) -> None:
        """A checkpoint of this moment, between two steps; call it in all processes.

        Where the weights are not `proven` it waits for the loss of the next step: a step may throw them so far off
        that no number comes out any more, and the checkpoint before would be the last good one.
        """
        process = on_cpu({"random": random_state(), "sums": self.progress.sums})
        processes = gathered(process, self.trainer.world)
        if not all(torch.isfinite(process["sums"]).all() for process in processes):
            return  # the training has diverged; the checkpoint before is good
        if self.checkpoints and self.trainer.world.is_first:
            content = self._content(processes)
            self.checkpoints.save(content) if proven else self.checkpoints.hold(content)

    def finish(self) -> None:
        """Return once the last checkpoint is on the disk. Raises ResourceError where it is not."""
        if self.checkpoints:
            self.checkpoints.wait()

    def leave(self) -> None:
        """Asked to stop: leave a usable model, and a checkpoint to go on from."""
        progress = self.progress
        logger.info("Asked to stop in epoch %d after %d of its batches", progress.epoch, progress.batch)
        self._leave_some_model()
        if self.checkpoints:
            self.save()
            self.checkpoints.wait()
            if self.trainer.world.is_first:
                logger.info("The job goes on from the checkpoint in %s when it starts again", self.paths.checkpoints)
        if self.journal:
            self.journal.end("interrupted", f"asked to stop in epoch {progress.epoch}")

    def end_by_rule(self) -> None:
        """A health rule ended the training in the middle of an epoch: as early stopping, leave the best model."""
        logger.info("A health rule ends the training in epoch %d", self.progress.epoch)
        self._leave_some_model()
        self.complete = self.history.best is not None
        if self.checkpoints:
            self.save()

    def _leave_some_model(self) -> None:
        if self.trainer.world.is_first and self.history.best is None:
            artifact.save(self.paths.model, self.trainer.config, self.trainer.net.state_dict())
            logger.info("No epoch is complete: %s holds the weights as they are, not measured", self.paths.model)

    def _content(self, processes: list[dict[str, Any]]) -> dict[str, Any]:
        trainer, best = self.trainer, self.history.best
        return {
            "package_version": __version__,
            "card": trainer.config.model_dump(mode="json"),
            "hyperparameters": self.hyperparameters.model_dump(mode="json"),
            "grid": self.grid.as_dict(),
            "progress": {name: getattr(self.progress, name) for name in ("epoch", "batch", "learning_rate")},
            "steps": trainer.step.schedule.last_epoch,
            "complete": self.complete,
            "records": [asdict(record) for record in self.history.records],
            "best_epoch": best.epoch if best else None,
            "early_stopping": self.early_stopping.state_dict() if self.early_stopping else None,
            "health": self.health.state_dict(),
            "model": trainer.net.state_dict(),
            "optimizer": optimizer_state(trainer.step.optimizer, trainer.net),
            "scaler": trainer.step.scaler.state_dict(),
            "processes": processes,
        }

    # Resuming

    def resume(self) -> bool:
        """Go on from the newest checkpoint, where there is one.

        Raises InputError that names the differences where it is of another model, other classes or another format.
        """
        if not self.checkpoints or self.hyperparameters.resume == "never":
            return False
        content = self.checkpoints.newest()
        if content is None:
            return False
        check_fits(content, self.trainer.config)
        for line in changed(content, self.hyperparameters, self.trainer.world.size):
            logger.info("Changed since the checkpoint: %s", line)
        self._restore_training(content)
        self._restore_history(content)
        self._restore_position(content)
        logger.info(
            "Going on from the checkpoint: epoch %d, after %d of its %d batches",
            self.progress.epoch,
            self.progress.batch,
            self.grid.batches,
        )
        return True

    def _restore_training(self, content: dict[str, Any]) -> None:
        trainer, step = self.trainer, self.trainer.step
        trainer.net.load_state_dict(content["model"])
        if content["hyperparameters"]["optimizer"] == self.hyperparameters.optimizer:
            set_optimizer_state(step.optimizer, trainer.net, content["optimizer"])
        else:
            logger.info("The optimiser is another one: it begins without the old one's averages")
        if step.scaler.is_enabled() and content["scaler"]:
            step.scaler.load_state_dict(content["scaler"])

    def _restore_history(self, content: dict[str, Any]) -> None:
        self.history.records[:] = [EpochRecord(**record) for record in content["records"]]
        self.history.best = next(
            (record for record in self.history.records if record.epoch == content["best_epoch"]), None
        )
        if self.early_stopping and content["early_stopping"]:
            self.early_stopping.load_state_dict(content["early_stopping"])
        if health := content.get("health"):  # checkpoints of before have none
            self.health.load_state_dict(health)
        if content["best"]:
            config = ModelConfig.model_validate(content["best"]["card"])
            on_first(self.trainer.world, lambda: artifact.save(self.paths.model, config, content["best"]["model"]))

    def _still_stopped_early(self, saved: dict[str, Any]) -> bool:
        """Whether the checkpoint's job stopped early, or by a health rule, and this one would too."""
        now = self.hyperparameters.model_dump(mode="json")
        deciding = [name for name in now if name.startswith(("early_stopping", "health_"))]
        same = all(saved.get(name, now[name]) == now[name] for name in deciding)
        return same and len(self.history.records) < int(saved["epochs"])

    def _restore_position(self, content: dict[str, Any]) -> None:
        """On another grid of batches an epoch that was under way begins anew; the weights stay."""
        schedule, world, saved = self.trainer.step.schedule, self.trainer.world, content["progress"]
        self.complete = content["complete"] and self._still_stopped_early(content["hyperparameters"])
        if content["grid"] == self.grid.as_dict():
            steps = content["steps"]
            self.progress.epoch, self.progress.batch = saved["epoch"], saved["batch"]
            self.progress.learning_rate = saved["learning_rate"]
            process = content["processes"][world.rank]
            self.progress.sums.copy_(process["sums"])
            set_random_state(process["random"])
        else:
            steps = (saved["epoch"] - 1) * self.trainer.steps_per_epoch
            self.progress.begin(saved["epoch"], 0.0)
            if saved["batch"]:
                logger.info("The batches are others than in the checkpoint: epoch %d begins anew", saved["epoch"])
        set_schedule_steps(schedule, steps)
