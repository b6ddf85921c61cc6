"""The network as TorchServe builds it: a class that takes the saved weights."""

from __future__ import annotations

from typing import Any

import usual
from torch import Tensor, nn


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = usual.build()

    def load_state_dict(self, state_dict: Any, *arguments: Any, **options: Any) -> Any:
        return self.net.load_state_dict(state_dict, *arguments, **options)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)
