"""What may follow a training. It must not change what a step computes, nor ask the device for a number in each step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from byoc_vision.evaluation.predictions import SplitPredictions
from byoc_vision.report.record import Record


class Callback:
    """The events of a training, in their order; a callback overrides those that it needs.

        train_begin
            epoch_begin
                step_begin, then for each batch of the step batch_moved, loss_computed, gradients_computed,
                then gradients_ready, step_end
            epoch_trained
            batch_validated, for each batch
            predictions_kept
            epoch_end
        predictions_kept
        train_end

    On a GPU the parts of a step may still be computed when their event comes: reading a tensor makes the CPU wait.
    `record` is the run so far, as metrics.json holds it.
    """

    def train_begin(self, record: Record) -> None:
        """Training is about to begin, or to continue: `record` holds the epochs of an earlier start."""

    def epoch_begin(self, epoch: int, step: int) -> None:
        """epoch: counted from 1. step: how many of its steps an earlier start made."""

    def step_begin(self) -> None:
        """The batches of the step are loaded; gradients are about to be cleared."""

    def batch_moved(self, images: Tensor, targets: Tensor) -> None:
        """Images, uint8 [N, 3, h, w], and their targets are on the device."""

    def loss_computed(self, logits: Tensor, loss: Tensor) -> None:
        """logits: [N, …]. loss: [], the mean of the batch."""

    def gradients_computed(self) -> None:
        """The gradients of one batch are added."""

    def gradients_ready(self) -> None:
        """All gradients are there: unscaled in float16, and clipped if the job asks for it."""

    def step_end(self) -> None:
        """The weights moved, or float16 overflowed and the step was skipped."""

    def epoch_trained(self) -> None:
        """The last step of the epoch is made, or the epoch is left."""

    def batch_validated(self) -> None:
        """A batch of validation or test images is evaluated."""

    def predictions_kept(self, collected: SplitPredictions) -> None:
        """What the best model predicts for all images of a split; in the main process only."""

    def epoch_end(self, record: Record) -> None:
        """The last of `record.epochs` is new."""

    def train_end(self, record: Record) -> None:
        """Nothing follows in this start of the job; `record.state` says how it ended.

        Also called for a job that fails before `train_begin`.
        """


class Callbacks(Callback):
    """Several as one, called in their order."""

    def __init__(self, callbacks: Sequence[Callback] = ()) -> None:
        self._all = tuple(callbacks)

    def __iter__(self) -> Iterator[Callback]:
        return iter(self._all)

    def train_begin(self, record: Record) -> None:
        for callback in self._all:
            callback.train_begin(record)

    def epoch_begin(self, epoch: int, step: int) -> None:
        for callback in self._all:
            callback.epoch_begin(epoch, step)

    def step_begin(self) -> None:
        for callback in self._all:
            callback.step_begin()

    def batch_moved(self, images: Tensor, targets: Tensor) -> None:
        for callback in self._all:
            callback.batch_moved(images, targets)

    def loss_computed(self, logits: Tensor, loss: Tensor) -> None:
        for callback in self._all:
            callback.loss_computed(logits, loss)

    def gradients_computed(self) -> None:
        for callback in self._all:
            callback.gradients_computed()

    def gradients_ready(self) -> None:
        for callback in self._all:
            callback.gradients_ready()

    def step_end(self) -> None:
        for callback in self._all:
            callback.step_end()

    def epoch_trained(self) -> None:
        for callback in self._all:
            callback.epoch_trained()

    def batch_validated(self) -> None:
        for callback in self._all:
            callback.batch_validated()

    def predictions_kept(self, collected: SplitPredictions) -> None:
        for callback in self._all:
            callback.predictions_kept(collected)

    def epoch_end(self, record: Record) -> None:
        for callback in self._all:
            callback.epoch_end(record)

    def train_end(self, record: Record) -> None:
        for callback in self._all:
            callback.train_end(record)
