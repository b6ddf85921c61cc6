"""Averages of the weights, which often predict better than the last weights do: over the steps, and of epochs.

Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992; as exponential average with batch
norm's statistics: Tarvainen and Valpola, "Mean teachers are better role models", 2017. The uniform average of the best
epochs: Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models improves accuracy without
increasing inference time", 2022.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from byoc_vision.evaluation.metric_names import Objective
from byoc_vision.training.checkpoint_file import on_cpu

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


class Ingredient(NamedTuple):
    """The weights and statistics of an epoch, in main memory, by the names of the state dict, and its objective."""

    epoch: int
    value: float
    tensors: dict[str, Tensor]


@dataclass
class Soup:
    """The weights of the best epochs so far, the best first, and their average. The main process alone has them.

    size: how many are kept.
    """

    size: int
    objective: Objective
    kept: list[Ingredient] = field(default_factory=list)

    def add(self, epoch: int, value: float, tensors: Mapping[str, Tensor]) -> None:
        """Keep the weights of an epoch if it is one of the best; of equal ones the earlier is better."""
        better = (index for index, each in enumerate(self.kept) if self.objective.is_better(value, each.value))
        place = next(better, len(self.kept))
        if place < self.size and math.isfinite(value):
            self.kept.insert(place, Ingredient(epoch, value, on_cpu(dict(tensors))))
            del self.kept[self.size :]

    @property
    def epochs(self) -> list[int]:
        return sorted(each.epoch for each in self.kept)

    def average(self) -> dict[str, Tensor]:
        """Of the weights and of batch norm's statistics, each alike; counters are the best epoch's."""
        first = self.kept[0].tensors
        return {
            name: torch.stack([each.tensors[name].double() for each in self.kept]).mean(0).to(tensor.dtype)
            if tensor.is_floating_point()
            else tensor
            for name, tensor in first.items()
        }

    def state_dict(self) -> dict[str, Any]:
        return {"kept": [each._asdict() for each in self.kept]}

    def load_state_dict(self, state: Mapping[str, Any] | None) -> None:
        """None: begin with none. Fewer are kept if the size is smaller than it was."""
        kept = [Ingredient(**each) for each in state["kept"]] if state else []
        self.kept = kept[: self.size]
