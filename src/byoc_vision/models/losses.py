"""The losses, over logits and class indices, in float32 whatever the network's precision.

Each is a ratio, or a sum of ratios: of what the targets cost to what they weigh. A step of several batches and
processes divides the costs of each batch by the weight of all of them (`totals`), which depends on the targets alone.
So it learns what one batch of all the images teaches, however they are divided.

Targets of mixed images are shares of the classes, floats [N, K]: they cost the sum of what the classes cost, each by
its share, and weigh the same sum of weights. So a mixed image teaches what both images teach, one after the other.

Masks may hold an ignored value: such pixels count nowhere. If nothing counts, the loss is 0, and its gradients too.
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
_MOST_CLASSES = 256  # of masks of one byte


def build_loss(
    name: str,
    activation: Activation,
    *,
    task: Task = "segmentation",
    ignore_index: int = 255,
    class_weights: Sequence[float] | None = None,
    label_smoothing: float = 0.0,
) -> Loss:
    """The loss of a name.

    It takes logits [N, K, H, W] and class indices [N, H, W] (uint8 or int64), or [N, K] and [N]. With `sigmoid` masks
    have one logit, K = 1, and the classes are 0 and 1; images have K labels of yes or no each, [N, K] of 1 and 0.
    `ignore_index` is for masks alone: an image's label 255 is a class. `class_weights` has one weight a class, two
    for masks with `sigmoid`; with K labels of yes or no it is what each class's yes counts, where a no counts 1.

    Raises:
        InputError: the name is not known, or does not go with the task, with label smoothing or with class weights.
    """
    if name not in LOSSES:
        raise InputError(f"loss={name} is not known; take one of {', '.join(LOSSES)}")
    if task == "classification" and name not in _FOR_CLASSIFICATION:
        raise InputError(f"loss={name} compares areas of masks; for labels take {' or '.join(_FOR_CLASSIFICATION)}")
    if label_smoothing and name not in ("cross_entropy", "bce_dice"):
        raise InputError(f"label_smoothing goes with loss=cross_entropy and loss=bce_dice, not with loss={name}")
    if name == "dice" and activation == "sigmoid" and class_weights is not None:
        raise InputError(
            "class_weights has nothing to weight with loss=dice and two classes: it compares the second class alone; "
            "leave class_weights out, or take loss=bce_dice"
        )
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


class Loss(nn.Module):
    """A ratio of sums over targets, or the sum of T = `terms` such ratios."""

    terms = 1

    def sums(self, logits: Tensor, targets: Tensor) -> Tensor:
        """What the targets cost, float32 [T]."""
        raise NotImplementedError

    def totals(self, targets: Tensor) -> Tensor:
        """What the targets weigh, float64 [T]: what `sums` are divided by."""
        raise NotImplementedError

    def forward(self, logits: Tensor, targets: Tensor, totals: Tensor | None = None) -> Tensor:
        """The loss of these targets, float32 []; with `totals` their share in the loss of all that the totals cover."""
        return divide(self.sums(logits, targets), self.totals(targets) if totals is None else totals)


def divide(sums: Tensor, totals: Tensor) -> Tensor:
    """The sum of the ratios; one of 0 to 0 is 0."""
    return (sums / totals.to(sums.dtype).clamp(min=torch.finfo(torch.float32).tiny)).sum()


def is_mixed(targets: Tensor) -> bool:
    """Whether they are shares of the classes, [N, K]: labels and masks are whole numbers."""
    return targets.ndim == 2 and targets.is_floating_point()


class MaskedLoss(Loss):
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

    def counted(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The targets as int64 with 0 where they are ignored, and 1.0 or 0.0 for each: counted or ignored."""
        if targets.ndim == 1:
            return targets.long(), torch.ones_like(targets, dtype=torch.float32)
        ignored = targets == self.ignore_index
        return targets.long().masked_fill(ignored, 0), (~ignored).float()

    def totals(self, targets: Tensor) -> Tensor:
        """The weights of the counted targets."""
        if is_mixed(targets):
            return self.weighted(targets).sum(dtype=torch.float64)[None]
        targets, counted = self.counted(targets)
        return self.weights(targets, counted).sum(dtype=torch.float64)[None]

    def weights(self, targets: Tensor, counted: Tensor) -> Tensor:
        """What each target weighs."""
        return counted if self.class_weights is None else counted * self.class_weights[targets]

    def weighted(self, shares: Tensor) -> Tensor:
        """Shares of the classes [N, K], each times its class's weight."""
        return shares if self.class_weights is None else shares * self.class_weights


class CrossEntropy(MaskedLoss):
    """Cross-entropy, with one logit the binary one. Class weights and label smoothing are those of
    `torch.nn.CrossEntropyLoss`: what is spread over a class has that class's weight.
    """

    def sums(self, logits: Tensor, targets: Tensor) -> Tensor:
        if is_mixed(targets):
            smoothing, weights = self.label_smoothing, self.class_weights
            return F.cross_entropy(logits.float(), targets, weights, reduction="sum", label_smoothing=smoothing)[None]
        targets, counted = self.counted(targets)
        if self.activation == "softmax":
            losses = F.cross_entropy(
                logits.float(), targets, self.class_weights, reduction="none", label_smoothing=self.label_smoothing
            )
        else:
            losses = self._binary(logits.float().squeeze(1), targets)
        return (losses * counted).sum()[None]

    def _binary(self, logits: Tensor, targets: Tensor) -> Tensor:
        """As of two logits, of which the first is 0."""
        wanted = targets.float() * (1 - self.label_smoothing) + self.label_smoothing / 2
        if self.class_weights is None:
            return F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        no, yes = self.class_weights
        losses: Tensor = -(yes * wanted * F.logsigmoid(logits) + no * (1 - wanted) * F.logsigmoid(-logits))
        return losses


class Focal(MaskedLoss):
    """Cross-entropy that counts what is learnt already for little: (1 - p)² · -log p.

    Lin et al., "Focal Loss for Dense Object Detection", 2017; gamma is 2, as there.
    """

    def sums(self, logits: Tensor, targets: Tensor) -> Tensor:
        if is_mixed(targets):
            each = -F.log_softmax(logits.float(), 1)
            return ((1 - torch.exp(-each)) ** _FOCAL_GAMMA * each * self.weighted(targets)).sum()[None]
        targets, counted = self.counted(targets)
        logits = logits.float()
        if self.activation == "softmax":
            losses = F.cross_entropy(logits, targets, reduction="none")
        else:
            losses = F.binary_cross_entropy_with_logits(logits.squeeze(1), targets.float(), reduction="none")
        focal = (1 - torch.exp(-losses)) ** _FOCAL_GAMMA * losses
        return (focal * self.weights(targets, counted)).sum()[None]


class YesOrNo(Loss):
    """The binary cross-entropy of K labels that do not exclude one another, the mean of all N × K of them.

    gamma: makes it the focal loss of Lin et al., 2017: (1 - p)^gamma · -log p of what is true.
    yes_weights: [K], what each class's yes counts; rare classes learn with weights above 1. A no counts 1. As
    `pos_weight` of `torch.nn.BCEWithLogitsLoss` they do not change what the sum is divided by.
    label_smoothing: the share of each target that is spread over yes and no.
    """

    yes_weights: Tensor | None

    def __init__(self, gamma: float = 0.0, yes_weights: Tensor | None = None, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.gamma = gamma
        self.label_smoothing = label_smoothing
        self.register_buffer("yes_weights", yes_weights, persistent=False)

    def totals(self, targets: Tensor) -> Tensor:
        """The number of labels of yes or no."""
        return torch.full((1,), targets.numel(), dtype=torch.float64, device=targets.device)

    def sums(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits [N, K] and targets [N, K]: 1 for yes, 0 for no; of mixed images the share of yes."""
        logits, target = logits.float(), targets.float()
        wanted = target * (1 - self.label_smoothing) + self.label_smoothing / 2
        losses = F.binary_cross_entropy_with_logits(logits, wanted, pos_weight=self.yes_weights, reduction="none")
        if self.gamma and is_mixed(targets):
            yes, no = -F.logsigmoid(logits), -F.logsigmoid(-logits)
            yes_share = target if self.yes_weights is None else target * self.yes_weights
            losses = yes_share * torch.sigmoid(-logits) ** self.gamma * yes
            losses = losses + (1 - target) * torch.sigmoid(logits) ** self.gamma * no
        elif self.gamma:
            wrong = torch.sigmoid(torch.where(target > 0, -logits, logits))  # 1 - p, exact also where p is near 1
            losses = wrong**self.gamma * losses
        return losses.sum()[None]


class Dice(MaskedLoss):
    """1 - Dice of probabilities and target, of each image and class that it shows, the weighted mean.

    Milletari, Navab, Ahmadi: "V-Net", 2016, with 1 added above and below the fraction. With one logit it is of class 1,
    and of class 0 in images that show nothing else. A class that an image does not show has no term of its own: the
    least probability, summed over all pixels, would cost as much as a class that is missed, and teach that rare classes
    do not exist. Those pixels cost in the class that they are of.
    """

    def totals(self, targets: Tensor) -> Tensor:
        """The weights of the classes that each image shows; with one logit, the number of images that count."""
        targets, counted = self.counted(targets)
        if self.activation == "sigmoid":
            return counted.flatten(1).amax(1).sum(dtype=torch.float64)[None]
        shown = torch.zeros(len(targets), _MOST_CLASSES, device=targets.device)
        shown.scatter_reduce_(1, targets.flatten(1), counted.flatten(1), "amax")
        if self.class_weights is not None:
            shown = shown[:, : len(self.class_weights)] * self.class_weights
        return shown.sum(dtype=torch.float64)[None]

    def sums(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits [N, K, H, W] and targets [N, H, W]."""
        targets, counted = self.counted(targets)
        logits, counted = logits.float(), counted.unsqueeze(1)
        if self.activation == "sigmoid":  # the same as two logits, of which the first is 0
            logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
        target = torch.zeros_like(logits).scatter_(1, targets.unsqueeze(1), 1.0) * counted
        probabilities = torch.softmax(logits, dim=1) * counted
        intersection = (probabilities * target).sum((2, 3))
        areas = probabilities.square().sum((2, 3)) + target.square().sum((2, 3))
        losses = 1 - (2 * intersection + _DICE_SMOOTH) / (areas + _DICE_SMOOTH)  # [N, K]
        shown = target.amax((2, 3))
        if self.activation == "sigmoid":
            background, foreground = shown.unbind(1)
            shown = torch.stack([background * (1 - foreground), foreground], dim=1)
        elif self.class_weights is not None:
            shown = shown * self.class_weights
        return (losses * shown).sum()[None]


class Sum(Loss):
    """The sum of losses."""

    def __init__(self, *losses: Loss) -> None:
        super().__init__()
        self.losses = losses
        self._registered = nn.ModuleList(losses)  # so that their weights move with this one
        self.terms = sum(loss.terms for loss in losses)

    def sums(self, logits: Tensor, targets: Tensor) -> Tensor:
        return torch.cat([loss.sums(logits, targets) for loss in self.losses])

    def totals(self, targets: Tensor) -> Tensor:
        return torch.cat([loss.totals(targets) for loss in self.losses])
