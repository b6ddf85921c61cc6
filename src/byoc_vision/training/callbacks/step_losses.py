"""The losses of steps as numbers, without making the CPU wait for the GPU."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from byoc_vision.training.callbacks.step_timer import MOST_UNREAD, stopwatch_of


class StepLosses:
    """Put a loss in when its step ends, and take it out once the device has computed it.

    A GPU is some steps behind: the loss is copied to main memory in passing, and read after that.
    """

    def __init__(self, device: torch.device) -> None:
        self._stopwatch = stopwatch_of(device)
        self._sent: deque[tuple[int, Tensor, Any]] = deque()

    def put(self, step: int, loss: Tensor) -> None:
        """loss: []"""
        copy = loss.detach()
        if loss.is_cuda:
            copy = torch.empty((), dtype=torch.float32, pin_memory=True)
            copy.copy_(loss.detach(), non_blocking=True)
        self._sent.append((step, copy, self._stopwatch.mark()))

    def take(self, *, wait: bool = False) -> Iterator[tuple[int, float]]:
        """Steps and their losses, in order, as far as they are known; all of them with `wait`."""
        while self._sent:
            step, loss, mark = self._sent[0]
            if not self._stopwatch.passed(mark):
                if not wait and len(self._sent) <= MOST_UNREAD:
                    return
                self._stopwatch.wait(mark)
            self._sent.popleft()
            yield step, float(loss)
