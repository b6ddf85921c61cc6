"""What may look on while a step is made: it must not change what the step computes."""

from __future__ import annotations

from torch import Tensor


class StepObserver:
    """Told of each part of a step as it ends. A step of several batches moves, computes and differentiates each.

    On a GPU the parts have been asked for and may still be under way: who reads a tensor's value makes the CPU wait.
    """

    def step_begins(self) -> None:
        """The batches are there; gradients are about to be cleared."""

    def batch_moved(self, images: Tensor, targets: Tensor) -> None:
        """Images, uint8 [N, 3, h, w], and their targets are on the device."""

    def loss_computed(self, logits: Tensor, loss: Tensor) -> None:
        """The network has answered [N, …], and `loss` [] is the batch's mean."""

    def gradients_computed(self) -> None:
        """One batch's gradients are added."""

    def gradients_ready(self, scale: float) -> None:
        """All gradients are there, clipped where that is asked for, and `scale` times as large as they should be."""

    def step_ends(self) -> None:
        """The weights are moved, or the step was passed over since float16 overflowed."""
