"""The classic U-Net: a contracting path for context, an expanding path for exact edges.

Ronneberger, Fischer, Brox: "U-Net: Convolutional Networks for Biomedical Image Segmentation", 2015.
Two things differ from the paper, as in most of today's implementations: convolutions are padded, so
that the prediction covers the whole image, and batch normalisation follows each of them.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn


class UNet(nn.Module):
    """Computes logits for each pixel of an image.

    `width` is the number of channels at full resolution; it doubles at each of the four levels below.
    With 64, as in the paper, the network has 31 million parameters; with 16, 2 million.
    """

    STRIDE = 16  # of the lowest level; the sides of an image must be multiples of it

    def __init__(self, outputs: int, width: int = 64, channels: int = 3) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(5)]  # 64, 128, 256, 512, 1024
        self.stem = DoubleConv(channels, width)
        self.down = nn.ModuleList(Down(above, below) for above, below in pairwise(widths))
        self.up = nn.ModuleList(Up(below, above) for below, above in pairwise(reversed(widths)))
        self.head = nn.Conv2d(width, outputs, kernel_size=1)
        self.apply(_he_initialise)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images [N, 3, H, W] to logits [N, outputs, H, W]; H and W are multiples of 16."""
        skips = []
        x = self.stem(x)  # [N, 64, H, W]
        for down in self.down:
            skips.append(x)
            x = down(x)  # [N, 128, H/2, W/2] … [N, 1024, H/16, W/16]
        for up, skip in zip(self.up, reversed(skips), strict=True):
            x = up(x, skip)  # [N, 512, H/8, W/8] … [N, 64, H, W]
        logits: Tensor = self.head(x)
        return logits


class DoubleConv(nn.Sequential):
    """(3×3 convolution, batch normalisation, ReLU) twice: [N, inputs, H, W] to [N, outputs, H, W]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class Down(nn.Sequential):
    """Halves the resolution: [N, inputs, H, W] to [N, outputs, H/2, W/2]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(nn.MaxPool2d(2), DoubleConv(inputs, outputs))


class Up(nn.Module):
    """Doubles the resolution and concatenates the contracting path's features of that size."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.expand = nn.ConvTranspose2d(inputs, outputs, kernel_size=2, stride=2)
        self.merge = DoubleConv(2 * outputs, outputs)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """[N, inputs, H, W] and [N, outputs, 2H, 2W] to [N, outputs, 2H, 2W]."""
        merged: Tensor = self.merge(torch.cat([skip, self.expand(x)], dim=1))
        return merged


def _he_initialise(module: nn.Module) -> None:
    """Initialise weights so that each layer keeps its input's variance: N(0, 2 / fan-in), section 3 of the paper."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    elif isinstance(module, nn.ConvTranspose2d):
        # Stride and kernel are equal: each output has one tap per input channel, and no ReLU follows.
        nn.init.normal_(module.weight, std=module.in_channels**-0.5)
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.bias is not None:
        nn.init.zeros_(module.bias)
