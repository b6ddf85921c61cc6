"""One epoch of training and one pass of evaluation: all of the arithmetic, none of the policy."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from byoc_vision.data.loaders import EvaluationBatch
from byoc_vision.errors import DataError
from byoc_vision.inference.engines.base import Logits
from byoc_vision.inference.predictor import Predictor, Prepared
from byoc_vision.precision import Precision
from byoc_vision.preprocess import IGNORED
from byoc_vision.system.machine import available_cores
from byoc_vision.training.answers.judging import Answered, judge
from byoc_vision.training.distributed import World, any_process, processes_per_host, sum_over_processes
from byoc_vision.training.signals import StopRequestedError
from byoc_vision.training.callbacks.base import StepObserver
from byoc_vision.training.batch_layout import Progress

Batch = tuple[Tensor, Tensor]

MOST_THREADS = 4  # that finish masks: each holds the logits of a whole image

logger = logging.getLogger(__name__)


class Metrics(Protocol):
    """What evaluation needs of a metric: fed batch by batch with answers and targets, read once."""

    def update(self, images: Iterable[Answered]) -> None: ...

    def compute(self) -> dict[str, float]: ...


class Onlooker(Protocol):
    """What may look at each image that is answered."""

    def add(self, sample_index: int, prepared: Prepared, image: Answered) -> None: ...


@dataclass(frozen=True)
class Step:
    """What one optimiser step needs beside the batch."""

    model: nn.Module
    loss: nn.Module
    optimizer: Optimizer
    schedule: LambdaLR
    precision: Precision
    scaler: torch.amp.GradScaler
    device: torch.device
    clip_grad_norm: float = 0.0
    still: tuple[nn.Module, ...] = ()  # layers whose statistics do not move
    observers: tuple[StepObserver, ...] = ()

    def begin(self) -> None:
        """Set the layers to training, but for those that stand still."""
        self.model.train()
        for layer in self.still:
            layer.eval()

    def __call__(self, batches: Sequence[Batch]) -> Tensor:
        """One step of the optimiser over the mean loss of all `batches`, of which one is in memory at a time.

        A batch is images, uint8 [N, 3, h, w], and targets [N], [N, K] or [N, h, w]. Returns float64 [2] on the
        device: the summed loss and the number of images.
        """
        for observer in self.observers:
            observer.step_begins()
        sums = torch.zeros(2, dtype=torch.float64, device=self.device)
        self.optimizer.zero_grad(set_to_none=True)
        for index, (images, targets) in enumerate(batches, start=1):
            with self._communicating(index == len(batches)):
                loss = self._gradients(images, targets, 1 / len(batches))
            # Summed on the device: asking for the number here would make the CPU wait for the GPU.
            sums[0] += loss * len(images)
            sums[1] += len(images)
        if self.clip_grad_norm:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_grad_norm)
        scale = self.scaler.get_scale()
        for observer in self.observers:
            observer.gradients_ready(1.0 if self.clip_grad_norm else scale)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.scaler.get_scale() >= scale:
            # With fp16 the scaler passes over a step that overflowed; the schedule then waits too.
            self.schedule.step()
        for observer in self.observers:
            observer.step_ends()
        return sums

    def _gradients(self, images: Tensor, targets: Tensor, weight: float) -> Tensor:
        """Add `weight` times the batch's gradients; the batch's mean loss, detached."""
        images = images.to(self.device, non_blocking=True, memory_format=torch.channels_last)
        targets = targets.to(self.device, non_blocking=True)
        for observer in self.observers:
            observer.batch_moved(images, targets)
        with self.precision.autocast():
            logits = self.model(images)
        loss: Tensor = self.loss(logits, targets)
        for observer in self.observers:
            observer.loss_computed(logits, loss)
        self.scaler.scale(loss * weight if weight != 1 else loss).backward()  # type: ignore[no-untyped-call]
        for observer in self.observers:
            observer.gradients_computed()
        return loss.detach()

    def _communicating(self, last: bool) -> AbstractContextManager[None]:
        """The processes average their gradients once a step, with its last batch."""
        if last or not isinstance(self.model, DistributedDataParallel):
            return nullcontext()
        return self.model.no_sync()


def train_one_epoch(
    step: Step,
    batches: Iterable[Batch],
    progress: Progress,
    after_step: Callable[[], bool],
    accumulate_steps: int = 1,
) -> None:
    """Train on the epoch's remaining batches, and count them and their losses in `progress`.

    Ends early where `after_step` says so.
    """
    step.begin()
    for group in grouped(batches, accumulate_steps):
        progress.sums += step(group)
        progress.batch += len(group)
        if after_step():
            return


def grouped(batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    """`size` batches at a time; the last time those that are left."""
    group: list[Batch] = []
    for images, targets in batches:
        group.append((images, targets))
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def evaluate(
    predictor: Predictor,
    batches: Iterable[EvaluationBatch],
    metrics: Metrics,
    world: World,
    loss: nn.Module | None = None,
    stopping: Callable[[], bool] | None = None,
    onlooker: Onlooker | None = None,
) -> dict[str, float]:
    """The metrics of the answers at each image's own size; with a `loss` also its mean, at the model's size.

    onlooker: is shown each image of this process, in order, before it is forgotten.
    Images that the batches leave out are counted in the log. Raises DataError where none is left, and
    StopRequestedError in all processes where `stopping` says so in any.
    """
    device = torch.device(predictor.device)
    total = torch.zeros(3, dtype=torch.float64, device=device)  # summed loss, images, those left out
    with ThreadPoolExecutor(min(MOST_THREADS, max(1, available_cores() // processes_per_host()))) as threads:
        # A mask at a photograph's size takes milliseconds outside of Python; a label takes less than a thread does.
        each = threads.map if predictor.config.task == "segmentation" else map
        for batch in batches:
            total[1] += len(batch.targets)
            total[2] += len(batch.unreadable)
            if not batch.targets:
                continue
            inputs = batch.images.permute(0, 2, 3, 1).numpy()
            logits = predictor.forward(inputs)
            if loss is not None:
                targets = torch.stack([_target(target, predictor) for target in batch.targets]).to(device)
                total[0] += loss(torch.as_tensor(logits), targets) * len(targets)
            prepared = list(map(Prepared, inputs, batch.heights, batch.widths))
            answered = each(partial(_answered, predictor), logits, prepared, batch.targets)
            metrics.update(answered if onlooker is None else _shown(onlooker, batch, prepared, answered))
            if stopping and stopping():
                break
    if stopping and any_process(stopping(), world, device):
        raise StopRequestedError
    summed_loss, images, left_out = sum_over_processes(total, world).tolist()
    if not images:
        raise DataError(f"none of the {left_out:.0f} images to be evaluated can be read; the log names each of them")
    if left_out and world.is_first:
        logger.warning("%d of %d images cannot be read: the figures are of the others", left_out, left_out + images)
    figures = metrics.compute()
    return figures if loss is None else {"loss": summed_loss / images, **figures}


def _answered(predictor: Predictor, logits: Logits, prepared: Prepared, target: np.ndarray) -> Answered:
    return judge(predictor.finish(logits, prepared), target, len(predictor.config.classes))


def _shown(
    onlooker: Onlooker, batch: EvaluationBatch, prepared: Sequence[Prepared], images: Iterable[Answered]
) -> Iterator[Answered]:
    """The images one by one: a batch of large ones need not be in memory together."""
    for index, item, image in zip(batch.sample_indices, prepared, images, strict=True):
        onlooker.add(index, item, image)
        yield image


def _target(target: np.ndarray, predictor: Predictor) -> Tensor:
    """The target at the model's size: a label [] and labels [K] as they are, a mask [H, W] by the artifact's rule."""
    fitted = predictor.config.preprocess.mask(target, fill=IGNORED) if target.ndim == 2 else target
    return torch.from_numpy(fitted)
