"""A network with its normalisation in front, so that images go to the device as uint8."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalized(nn.Module):
    """Computes `net((image / 255 - mean) / std)`.

    `mean` and `std` have one value per channel, in units of 0–1 RGB. They belong to the model config, not to
    the weights: the state dict holds only `net`.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, net: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.net = net
        mean_, std_ = (torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1) for values in (mean, std))
        self.register_buffer("scale", 1 / (255 * std_), persistent=False)
        self.register_buffer("shift", -mean_ / std_, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Images [N, channels, H, W], uint8 or float in 0–255, to the logits of `net`. Memory format is kept."""
        # float32 even under autocast: in bfloat16, 254 and 255 are the same.
        logits: Tensor = self.net(images.float() * self.scale + self.shift)
        return logits
