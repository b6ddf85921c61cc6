"""The loss of some steps, taken from the device without waiting for it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from byoc_vision.training.callbacks.base import StepObserver

EVERY = 50  # steps


class StepLosses(StepObserver):
    """Tells the mean loss of one step in `every`: `tell(step, loss)`, with the steps of the whole job counted from 1.

    done: steps that are made already. A loss is copied to main memory in passing, and read at the next one's turn.
    """

    def __init__(self, tell: Callable[[int, float], None], done: int = 0, every: int = EVERY) -> None:
        self._tell = tell
        self._every = every
        self._step = done
        self._losses: list[Tensor] = []
        self._copied: tuple[int, Tensor, torch.cuda.Event | None] | None = None

    def step_begins(self) -> None:
        self._step += 1

    def loss_computed(self, logits: Tensor, loss: Tensor) -> None:
        if self._step % self._every == 0:
            self._losses.append(loss.detach())

    def step_ends(self) -> None:
        if self._losses:
            self.flush()
            self._copy(torch.stack(self._losses).mean())
            self._losses.clear()

    def flush(self) -> None:
        """Tell the one that is on its way, if any."""
        if self._copied is None:
            return
        step, loss, event = self._copied
        self._copied = None
        if event:
            event.synchronize()
        self._tell(step, float(loss))

    def _copy(self, loss: Tensor) -> None:
        event = None
        if loss.is_cuda:
            loss = loss.to("cpu", non_blocking=True)
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record()
        self._copied = (self._step, loss, event)
