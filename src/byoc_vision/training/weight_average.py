"""An exponential moving average of the weights, which often predicts better than the last weights do.

Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992; as exponential average with batch
norm's statistics: Tarvainen and Valpola, "Mean teachers are better role models", 2017.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_WARM_UP = 9  # (1 + steps) / (10 + steps) at first: the average forgets the weights that the training began with


class WeightAverage:
    """The average of a network's weights and statistics over its steps, on the network's device.

    Args:
        net: the network; its tensors keep their memory, as `load_state_dict` leaves it.
        decay: the share of the average that a step keeps, once as many steps are made as it remembers.

    Attributes:
        tensors: the average, by the names of the network's state dict.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self._net = net.state_dict()
        self.tensors = {name: tensor.detach().clone() for name, tensor in self._net.items()}
        self._floats = [name for name, tensor in self._net.items() if tensor.is_floating_point()]
        self._others = [name for name in self._net if name not in set(self._floats)]  # counters

    @torch.no_grad()
    def update(self) -> None:
        """Add the weights after a step."""
        self.steps += 1
        decay = min(self.decay, self.steps / (self.steps + _WARM_UP))
        average = [self.tensors[name] for name in self._floats]
        torch._foreach_lerp_(average, [self._net[name] for name in self._floats], 1 - decay)
        for name in self._others:
            self.tensors[name].copy_(self._net[name])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the context the network has the averaged weights."""
        last = {name: tensor.detach().clone() for name, tensor in self._net.items()}
        self._fill(self.tensors)
        try:
            yield
        finally:
            self._fill(last)

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "tensors": dict(self.tensors)}

    def load_state_dict(self, state: Mapping[str, Any] | None) -> None:
        """None: begin with the network's present weights."""
        self.steps = int(state["steps"]) if state else 0
        tensors = state["tensors"] if state else self._net
        for name, tensor in self.tensors.items():
            tensor.copy_(tensors[name])

    @torch.no_grad()
    def _fill(self, tensors: Mapping[str, Tensor]) -> None:
        for name, tensor in self._net.items():
            tensor.copy_(tensors[name])
