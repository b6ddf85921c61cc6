"""The network in training, with all that its epochs need."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from torch import nn
from tqdm import tqdm

from byoc_vision.artifact import ModelConfig
from byoc_vision.data.cache import ImageCache
from byoc_vision.data.loaders import EvaluationBatch, TrainingLoader
from byoc_vision.models.parts import Encoder
from byoc_vision.training.distributed import World, share_statistics
from byoc_vision.training.evaluation import Evaluator
from byoc_vision.training.history import Figures
from byoc_vision.training.instruments import Instruments
from byoc_vision.training.step import Onlooker, Step, train_one_epoch
from byoc_vision.training.callbacks.base import StepObserver
from byoc_vision.training.parallel import bare, joined
from byoc_vision.training.batch_layout import Progress
from byoc_vision.training.throughput import Meter, Throughput

logger = logging.getLogger(__name__)


@dataclass
class Trainer:
    """What `fit` drives. `net` is the bare network whose weights are saved.

    encoder: what does not learn in the first `freeze_epochs` epochs.
    """

    config: ModelConfig
    net: nn.Module
    step: Step
    batches: TrainingLoader
    evaluator: Evaluator
    validation: Iterable[EvaluationBatch]
    world: World
    instruments: Instruments
    accumulate_steps: int = 1
    encoder: Encoder | None = None
    freeze_epochs: int = 0
    cache: ImageCache | None = None
    throughput: Throughput = field(default_factory=Throughput)
    _frozen: bool = False

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.batches) // self.accumulate_steps)

    def steps_done(self, epoch: int, batch: int) -> int:
        """Of the whole job, once `batch` batches of an epoch are trained on."""
        return (epoch - 1) * self.steps_per_epoch + batch // self.accumulate_steps

    def observe(self, *observers: StepObserver) -> None:
        """Have each step told to these, too, from the next one on."""
        self.step = replace(self.step, observers=(*self.step.observers, *observers))

    def train(self, epoch: int, progress: Progress, after_step: Callable[[], bool]) -> None:
        """Train on what `progress` leaves of this process's share of the epoch's images, and count it there.

        Ends early where `after_step`, asked after each step, says so.
        """
        self._freeze_or_thaw(epoch)
        self.batches.set_epoch(epoch, progress.batch)
        bar = tqdm(
            self.batches,
            desc=f"epoch {epoch}",
            unit="batch",
            leave=False,
            initial=progress.batch,
            total=len(self.batches),
            disable=None if self.world.is_first else True,  # None: a bar on a terminal, nothing in a log
        )
        done = progress.batch // self.accumulate_steps
        self.instruments.epoch_begins(self.steps_done(epoch, progress.batch))
        meter = Meter(self.instruments.timeline)
        with bar as batches:
            watched = meter.watch(batches, epoch, done)
            train_one_epoch(self.step, watched, progress, after_step, self.accumulate_steps)
        self.instruments.epoch_ends()
        self.throughput = meter.throughput(self.world)

    def _freeze_or_thaw(self, epoch: int) -> None:
        """The state that an epoch is trained in depends on the epoch alone, so that a resumed run has it too."""
        if self.encoder is None or not self.freeze_epochs:
            return
        frozen = epoch <= self.freeze_epochs
        if frozen == self._frozen:
            return
        self._frozen = frozen
        self.encoder.freeze(frozen)
        # DistributedDataParallel averages the gradients of the parameters that learnt when it was made.
        model = joined(bare(self.step.model), self.world)
        self.step = replace(self.step, model=model, still=self.encoder.batch_norms if frozen else ())
        logger.info("Epoch %d: the encoder %s", epoch, "is frozen, the head learns" if frozen else "learns too")

    def validate(self, stopping: Callable[[], bool], onlooker: Onlooker | None = None) -> Figures:
        """The figures of the validation images. Raises StopRequestedError in all processes."""
        share_statistics(self.net, self.world)
        return self.evaluator.evaluate(self.validation, stopping, onlooker)

    def learning_rate(self) -> float:
        return float(self.step.schedule.get_last_lr()[0])

    def close(self) -> None:
        """End what looks on, and remove what the job kept for itself alone."""
        self.instruments.close()
        if self.cache:
            self.cache.close()
