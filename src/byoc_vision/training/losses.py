"""The losses, over logits and class indices, in float32 whatever the network's precision.

Masks may hold an ignored value: such pixels do not count. If no pixel counts the loss is 0, and its gradients too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from byoc_vision.errors import InputError
from byoc_vision.types import Task

Activation = Literal["sigmoid", "softmax"]

LOSSES = ("cross_entropy", "dice", "bce_dice", "focal")
_FOR_CLASSIFICATION = ("cross_entropy", "focal")

_FOCAL_GAMMA = 2.0
_DICE_SMOOTH = 1.0


def build_loss(
    name: str,
    activation: Activation,
    *,
    task: Task = "segmentation",
    ignore_index: int = 255,
    class_weights: Sequence[float] | None = None,
    label_smoothing: float = 0.0,
) -> nn.Module:
    """The loss of a name.

    It takes logits [N, K, H, W] and class indices [N, H, W] (uint8 or int64), or [N, K] and [N]. With `sigmoid` masks
    have one logit, K = 1, and the classes are 0 and 1; images have K labels of yes or no each, [N, K] of 1 and 0.
    `ignore_index` is for masks alone: an image's label 255 is a class. `class_weights` has one weight a class, two
    for masks with `sigmoid`; with K labels of yes or no it is the weight of each class's yes; a no counts 1.

    Raises InputError for a name that is not known, and for one that does not go with the task or with label smoothing.
    """
    if name not in LOSSES:
        raise InputError(f"loss={name} is not known; take one of {', '.join(LOSSES)}")
    if task == "classification" and name not in _FOR_CLASSIFICATION:
        raise InputError(f"loss={name} compares areas of masks; for labels take {' or '.join(_FOR_CLASSIFICATION)}")
    if label_smoothing and name not in ("cross_entropy", "bce_dice"):
        raise InputError(f"label_smoothing goes with loss=cross_entropy and loss=bce_dice, not with loss={name}")
    weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
    if task == "classification" and activation == "sigmoid":
        return YesOrNo(_FOCAL_GAMMA if name == "focal" else 0.0, weights, label_smoothing)
    cross_entropy = CrossEntropy(activation, ignore_index, weights, label_smoothing)
    match name:
        case "dice":
            return Dice(activation, ignore_index, weights)
        case "bce_dice":
            return Sum(cross_entropy, Dice(activation, ignore_index, weights))
        case "focal":
            return Focal(activation, ignore_index, weights)
    return cross_entropy


class MaskedLoss(nn.Module):
    """What the losses share: which pixels count, and what each counts for."""

    class_weights: Tensor | None

    def __init__(
        self,
        activation: Activation,
        ignore_index: int = 255,
        class_weights: Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing
        self.register_buffer("class_weights", class_weights, persistent=False)

    def counted(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The targets as int64 with 0 for ignored ones, and 1.0 or 0.0 for each: counted or ignored."""
        if logits.ndim == 2:
            return targets.long(), torch.ones_like(targets, dtype=torch.float32)
        ignored = targets == self.ignore_index
        return targets.long().masked_fill(ignored, 0), (~ignored).float()

    def weighted_mean(self, losses: Tensor, targets: Tensor, counted: Tensor) -> Tensor:
        """The mean of `losses`, each of shape and weight of its target; 0 if none counts."""
        weights = counted if self.class_weights is None else counted * self.class_weights[targets]
        return (losses * weights).sum() / weights.sum().clamp(min=torch.finfo(torch.float32).tiny)

    def cross_entropies(self, logits: Tensor, targets: Tensor) -> Tensor:
        """-log p of each target, in the targets' shape."""
        if self.activation == "softmax":
            return F.cross_entropy(logits, targets, reduction="none", label_smoothing=self.label_smoothing)
        wanted = targets.float() * (1 - self.label_smoothing) + self.label_smoothing / 2
        return F.binary_cross_entropy_with_logits(logits.squeeze(1), wanted, reduction="none")


class CrossEntropy(MaskedLoss):
    """Cross-entropy, with one logit the binary one."""

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        targets, counted = self.counted(logits, targets)
        return self.weighted_mean(self.cross_entropies(logits.float(), targets), targets, counted)


class Focal(MaskedLoss):
    """Cross-entropy that gives little weight to what is learned already: (1 - p)² · -log p.

    Lin et al., "Focal Loss for Dense Object Detection", 2017; gamma is 2, as there.
    """

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        targets, counted = self.counted(logits, targets)
        losses = self.cross_entropies(logits.float(), targets)
        return self.weighted_mean((1 - torch.exp(-losses)) ** _FOCAL_GAMMA * losses, targets, counted)


class YesOrNo(nn.Module):
    """The binary cross-entropy of K labels that do not exclude one another, the mean of all N × K of them.

    gamma: makes it the focal loss of Lin et al., 2017: (1 - p)^gamma · -log p of what is true.
    yes_weights: [K], what each class's yes counts; rare classes learn with weights above 1. A no counts 1.
    label_smoothing: the share of each target that is spread over yes and no.
    """

    yes_weights: Tensor | None

    def __init__(self, gamma: float = 0.0, yes_weights: Tensor | None = None, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.gamma = gamma
        self.label_smoothing = label_smoothing
        self.register_buffer("yes_weights", yes_weights, persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits [N, K] and targets [N, K]: 1 for yes, 0 for no."""
        logits, target = logits.float(), targets.float()
        wanted = target * (1 - self.label_smoothing) + self.label_smoothing / 2
        losses = F.binary_cross_entropy_with_logits(logits, wanted, pos_weight=self.yes_weights, reduction="none")
        if self.gamma:
            wrong = torch.sigmoid(torch.where(target > 0, -logits, logits))  # 1 - p, exact also if p is near 1
            losses = wrong**self.gamma * losses
        return losses.mean()


class Dice(MaskedLoss):
    """1 - Dice of probabilities and target over the whole batch, the mean of the classes; with one logit, of class 1.

    Milletari, Navab, Ahmadi: "V-Net", 2016, with 1 added above and below the fraction, so that an empty batch that is
    predicted rightly costs nothing.
    """

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits [N, K, H, W] and targets [N, H, W]."""
        targets, counted = self.counted(logits, targets)
        probabilities, target = self._planes(logits.float(), targets)
        probabilities, target = probabilities * counted.unsqueeze(1), target * counted.unsqueeze(1)
        over = (0, *range(2, logits.ndim))  # all but the classes
        intersection = (probabilities * target).sum(over)
        areas = probabilities.square().sum(over) + target.square().sum(over)
        losses = 1 - (2 * intersection + _DICE_SMOOTH) / (areas + _DICE_SMOOTH)
        if self.class_weights is None or self.activation == "sigmoid":
            return losses.mean()
        return (losses * self.class_weights).sum() / self.class_weights.sum()

    def _planes(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities and target as [N, K, H, W]."""
        if self.activation == "sigmoid":
            return torch.sigmoid(logits), targets.unsqueeze(1).float()
        return torch.softmax(logits, dim=1), torch.zeros_like(logits).scatter_(1, targets.unsqueeze(1), 1.0)


class Sum(nn.Module):
    """The sum of losses."""

    def __init__(self, *losses: nn.Module) -> None:
        super().__init__()
        self.losses = nn.ModuleList(losses)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return torch.stack([loss(logits, targets) for loss in self.losses]).sum()
