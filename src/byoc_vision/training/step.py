"""One step of the optimiser."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from byoc_vision.launch.distributed import World, sum_over_processes, unwrap, wrap_ddp
from byoc_vision.models.losses import Loss
from byoc_vision.precision import Precision
from byoc_vision.training.callback import Callback

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Step:
    """What a step needs beside its batches.

    frozen_bn: batch normalisation whose statistics do not move.
    """

    model: nn.Module
    loss: Loss
    optimizer: Optimizer
    schedule: LambdaLR
    precision: Precision
    scaler: torch.amp.GradScaler
    device: torch.device
    clip_grad_norm: float = 0.0
    frozen_bn: tuple[nn.Module, ...] = ()
    callbacks: Callback = field(default_factory=Callback)
    world: World = field(default_factory=World)

    def with_other_parameters(self, frozen_bn: tuple[nn.Module, ...]) -> Step:
        """The same step after parameters were frozen or no longer are.

        DistributedDataParallel averages the gradients of those that learned when it was made.
        """
        return replace(self, model=wrap_ddp(unwrap(self.model), self.world), frozen_bn=frozen_bn)

    def begin(self) -> None:
        """Put the layers into training mode, except frozen batch normalisation."""
        self.model.train()
        for layer in self.frozen_bn:
            layer.eval()

    def __call__(self, batches: Sequence[Batch]) -> Tensor:
        """Step once on the loss of all `batches` of all processes, as if they were one; one is in memory at a time.

        A batch is images, uint8 [N, 3, h, w], and targets [N], [N, K] or [N, h, w].

        Returns:
            float64 [2] on the device: the summed loss and the number of images.
        """
        self.callbacks.step_begin()
        sums = torch.zeros(2, dtype=torch.float64, device=self.device)
        self.optimizer.zero_grad(set_to_none=True)
        targets = [targets.to(self.device, non_blocking=True) for _, targets in batches]
        total_images, totals = self._totals(targets)
        for index, ((images, _), each) in enumerate(zip(batches, targets, strict=True), start=1):
            with self._averaging(index == len(batches)):
                loss = self._gradients(images, each, total_images, totals)
            # Summed on the device: asking for the number here would make the CPU wait for the GPU.
            sums[0] += loss * total_images
            sums[1] += len(images)
        self.scaler.unscale_(self.optimizer)
        if self.clip_grad_norm:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_grad_norm)
        self.callbacks.gradients_ready()
        with _stepped(self.optimizer) as stepped:
            self.scaler.step(self.optimizer)
        self.scaler.update()
        if stepped:
            # With float16 the scaler skips a step that overflowed; the schedule then waits too. To know, the scaler
            # waits for the device once; to ask it for its scale, before and after, would be two more waits.
            self.schedule.step()
        self.callbacks.step_end()
        return sums

    def _totals(self, targets: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The number of images, float64 [], and what their targets weigh in the loss, over all processes."""
        # Written by the device itself: a number that is copied to a GPU makes the CPU wait for all that is before it.
        images = torch.full((1,), float(sum(map(len, targets))), dtype=torch.float64, device=self.device)
        weights = torch.stack([self.loss.totals(each) for each in targets]).sum(0)
        totals = sum_over_processes(torch.cat([images, weights]), self.world)
        return totals[0], totals[1:]

    def _gradients(self, images: Tensor, targets: Tensor, total_images: Tensor, totals: Tensor) -> Tensor:
        """Add the batch's gradients; its share in the loss of the step, detached."""
        images = images.to(self.device, non_blocking=True, memory_format=torch.channels_last)
        self.callbacks.batch_moved(images, targets)
        with self.precision.autocast():
            logits = self.model(images)
        loss: Tensor = self.loss(logits, targets, totals)
        self.callbacks.loss_computed(logits, loss.detach() * (total_images / len(images)))
        # DistributedDataParallel takes the mean of the processes' gradients; the loss of the step is their sum.
        scaled = loss * self.world.size if self.world.size > 1 else loss
        self.scaler.scale(scaled).backward()  # type: ignore[no-untyped-call]
        self.callbacks.gradients_computed()
        return loss.detach()

    def _averaging(self, last: bool) -> AbstractContextManager[None]:
        """The processes average their gradients once a step, with its last batch."""
        if last or not isinstance(self.model, DistributedDataParallel):
            return nullcontext()
        return self.model.no_sync()


@contextmanager
def _stepped(optimizer: Optimizer) -> Iterator[list[bool]]:
    """A list that is not empty once the optimiser has stepped within the block."""
    steps: list[bool] = []
    hook = optimizer.register_step_post_hook(lambda *_: steps.append(True))
    try:
        yield steps
    finally:
        hook.remove()
