"""Mixup and CutMix: each training image is mixed with the one before it in its batch, and their targets alike.

Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2018; Yun et al., "CutMix: Regularization Strategy to Train
Strong Classifiers with Localizable Features", 2019. The formulas are those of torchvision.transforms.v2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from byoc_vision.data.image_dataset import Example


@dataclass(frozen=True)
class Mixing:
    """Mixes the examples of a batch. All randomness comes from the seed of the batch.

    mixup, cutmix: the alpha of each; the share of an image is drawn from Beta(alpha, alpha), one for the batch; 0: not.
        If both are given, each batch takes one of them at random.
    classes: their number, K.
    """

    mixup: float
    cutmix: float
    classes: int

    def __call__(self, examples: Sequence[Example], seed: int) -> list[Example]:
        """The mixed examples, whose targets are the shares of the classes, float32 [K].

        Args:
            examples: with labels, int64 [], or 1 and 0 for each class, uint8 [K].
            seed: of this batch.
        """
        random = np.random.default_rng(seed)
        is_mixup = bool(self.mixup and (not self.cutmix or random.random() < 0.5))
        alpha = self.mixup if is_mixup else self.cutmix
        share = float(random.beta(alpha, alpha))
        if is_mixup:
            images = [blend(one.image, other.image, share) for one, other in _pairs(examples)]
        else:
            height, width = examples[0].image.shape[-2:]
            top, bottom, left, right = box(height, width, share, random)
            images = [one.image.clone() for one in examples]
            for image, (_, other) in zip(images, _pairs(examples), strict=True):
                image[:, top:bottom, left:right] = other.image[:, top:bottom, left:right]
            share = 1 - (bottom - top) * (right - left) / (height * width)
        targets = [self.shares(example.target) for example in examples]
        return [
            Example(image, share * target + (1 - share) * targets[index - 1])
            for index, (image, target) in enumerate(zip(images, targets, strict=True))
        ]

    def shares(self, target: Tensor) -> Tensor:
        """A label [] or labels [K] as float32 [K]."""
        if target.ndim:
            return target.float()
        return torch.zeros(self.classes).scatter_(0, target[None], 1.0)


def blend(one: Tensor, other: Tensor, share: float) -> Tensor:
    """`share` of one image and the rest of the other, uint8 [3, h, w]."""
    return torch.lerp(other.float(), one.float(), share).round_().to(torch.uint8)


def box(height: int, width: int, share: float, random: np.random.Generator) -> tuple[int, int, int, int]:
    """The part that comes from the other image: top, bottom, left, right.

    Around a random pixel, with the image's proportions and 1 - `share` of its area; what lies outside is cut off.
    """
    row, column = int(random.integers(height)), int(random.integers(width))
    half = 0.5 * (1 - share) ** 0.5
    rows, columns = int(half * height), int(half * width)
    return max(0, row - rows), min(height, row + rows), max(0, column - columns), min(width, column + columns)


def _pairs(examples: Sequence[Example]) -> list[tuple[Example, Example]]:
    """Each example with the one before it; the first with the last."""
    return [(example, examples[index - 1]) for index, example in enumerate(examples)]
