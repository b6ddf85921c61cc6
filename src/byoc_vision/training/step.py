"""One step of the optimiser."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from byoc_vision.precision import Precision
from byoc_vision.training.callbacks.base import Callback

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Step:
    """What a step needs beside its batches.

    frozen_bn: batch normalisation whose statistics do not move.
    """

    model: nn.Module
    loss: nn.Module
    optimizer: Optimizer
    schedule: LambdaLR
    precision: Precision
    scaler: torch.amp.GradScaler
    device: torch.device
    clip_grad_norm: float = 0.0
    frozen_bn: tuple[nn.Module, ...] = ()
    callbacks: Callback = field(default_factory=Callback)

    def begin(self) -> None:
        """Put the layers into training mode, except frozen batch normalisation."""
        self.model.train()
        for layer in self.frozen_bn:
            layer.eval()

    def __call__(self, batches: Sequence[Batch]) -> Tensor:
        """Step once on the mean loss of all `batches`, of which one is in memory at a time.

        A batch is images, uint8 [N, 3, h, w], and targets [N], [N, K] or [N, h, w].

        Returns:
            float64 [2] on the device: the summed loss and the number of images.
        """
        self.callbacks.step_begin()
        sums = torch.zeros(2, dtype=torch.float64, device=self.device)
        self.optimizer.zero_grad(set_to_none=True)
        for index, (images, targets) in enumerate(batches, start=1):
            with self._averaging(index == len(batches)):
                loss = self._gradients(images, targets, 1 / len(batches))
            # Summed on the device: asking for the number here would make the CPU wait for the GPU.
            sums[0] += loss * len(images)
            sums[1] += len(images)
        if self.clip_grad_norm:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_grad_norm)
        scale = self.scaler.get_scale()
        self.callbacks.gradients_ready(1.0 if self.clip_grad_norm else scale)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.scaler.get_scale() >= scale:
            # With float16 the scaler skips a step that overflowed; the schedule then waits too.
            self.schedule.step()
        self.callbacks.step_end()
        return sums

    def _gradients(self, images: Tensor, targets: Tensor, weight: float) -> Tensor:
        """Add `weight` times the batch's gradients; the batch's mean loss, detached."""
        images = images.to(self.device, non_blocking=True, memory_format=torch.channels_last)
        targets = targets.to(self.device, non_blocking=True)
        self.callbacks.batch_moved(images, targets)
        with self.precision.autocast():
            logits = self.model(images)
        loss: Tensor = self.loss(logits, targets)
        self.callbacks.loss_computed(logits, loss)
        self.scaler.scale(loss * weight if weight != 1 else loss).backward()  # type: ignore[no-untyped-call]
        self.callbacks.gradients_computed()
        return loss.detach()

    def _averaging(self, last: bool) -> AbstractContextManager[None]:
        """The processes average their gradients once a step, with its last batch."""
        if last or not isinstance(self.model, DistributedDataParallel):
            return nullcontext()
        return self.model.no_sync()
