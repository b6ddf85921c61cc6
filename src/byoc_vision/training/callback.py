"""What may follow a training. It must not change what a step computes, nor ask the device for a number in each step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Concatenate, ParamSpec

from torch import Tensor

from byoc_vision.evaluation.predictions import SplitPredictions
from byoc_vision.report.record import Record

P = ParamSpec("P")


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


def _each(event: Callable[Concatenate[Callback, P], None]) -> Callable[Concatenate[Callbacks, P], None]:
    """The event of all callbacks, in their order."""
    name = event.__name__

    def call(self: Callbacks, /, *args: P.args, **kwargs: P.kwargs) -> None:
        for callback in self:
            getattr(callback, name)(*args, **kwargs)

    return call


class Callbacks(Callback):
    """Several as one, called in their order."""

    def __init__(self, callbacks: Sequence[Callback] = ()) -> None:
        self._all = tuple(callbacks)

    def __iter__(self) -> Iterator[Callback]:
        return iter(self._all)

    train_begin = _each(Callback.train_begin)
    epoch_begin = _each(Callback.epoch_begin)
    step_begin = _each(Callback.step_begin)
    batch_moved = _each(Callback.batch_moved)
    loss_computed = _each(Callback.loss_computed)
    gradients_computed = _each(Callback.gradients_computed)
    gradients_ready = _each(Callback.gradients_ready)
    step_end = _each(Callback.step_end)
    epoch_trained = _each(Callback.epoch_trained)
    batch_validated = _each(Callback.batch_validated)
    predictions_kept = _each(Callback.predictions_kept)
    epoch_end = _each(Callback.epoch_end)
    train_end = _each(Callback.train_end)
