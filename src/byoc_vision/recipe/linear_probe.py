"""The floor of a classification: logistic regression on the features of the pretrained network, as it is.

It takes one pass over the images, so it is known before the first epoch. A training that ends below it did harm; and a
head that starts from it does not spoil the features in its first steps: Kumar et al., "Fine-Tuning can Distort
Pretrained Features and Underperform Out-of-Distribution", 2022. What such a head then leaves to learn depends on its
norm: Tomihari and Sato, "Understanding Linear Probing then Fine-tuning Language Models from NTK Perspective", 2024.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from byoc_vision.data.loaders import EvaluationBatch
from byoc_vision.data.samples import Sample
from byoc_vision.evaluation.evaluator import Evaluator
from byoc_vision.inference.predictor import Predictor
from byoc_vision.launch.distributed import Share, World, all_gather, any_process, on_rank0
from byoc_vision.launch.signals import StopRequestedError
from byoc_vision.models.losses import Loss

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of the squared weights of standardised features, half of each
FOLDS = 4
MOST_IMAGES = 20_000  # more change the floor by less than it varies
MOST_PRODUCTS = 2e10  # images × features × outputs: ten times as many take minutes

START_SCALE = 0.3  # of the fitted logits; docs/recipes.md has what 0.1 and 1 reach

_ITERATIONS = 100


class Head(NamedTuple):
    """A linear layer: weight [K, D], bias [K]."""

    weight: Tensor
    bias: Tensor


@dataclass(frozen=True)
class LinearProbe:
    """What it takes to fit the head of a classifier to the features of its training images.

    batches: this process's share of the images, as evaluation sees them. loss: the training's.
    """

    head: nn.Linear
    predictor: Predictor
    batches: Iterable[EvaluationBatch]
    loss: Loss
    world: World
    seed: int

    @classmethod
    def of(
        cls, net: nn.Module, evaluator: Evaluator, samples: Sequence[Sample], share: Share, loss: Loss, seed: int
    ) -> LinearProbe | None:
        """None if the network's head is not one linear layer. samples: to train on; share: this process's."""
        head = linear_head(net)
        if head is None:
            return None
        samples = few_enough(samples, head.in_features, head.out_features)
        batches = evaluator.batches(samples, share=share)
        return cls(head, evaluator.predictor, batches, loss, evaluator.world, seed)

    def fit(self, stopping: Callable[[], bool]) -> float:
        """Fill the head; returns its loss on the images that it is fitted to. Call it in all processes.

        Raises StopRequestedError in all of them if `stopping` returned True in one.
        """
        inputs, targets = self.features(stopping)
        outputs = self.head.out_features
        fitted = on_rank0(self.world, lambda: fit_head(inputs, targets, outputs, self.loss, self.seed))
        with torch.no_grad():
            self.head.weight.copy_(fitted.weight)
            self.head.bias.copy_(fitted.bias)
            return float(self.loss(self.head(inputs), targets))

    def soften(self) -> None:
        """Shrink the logits; the predictions stay. Call it in all processes.

        The fitted head leaves hardly a loss for the encoder to learn from, and the larger a head's weights, the further
        a step of the encoder moves the logits.
        """
        with torch.no_grad():
            self.head.weight.mul_(START_SCALE)
            self.head.bias.mul_(START_SCALE)

    def features(self, stopping: Callable[[], bool]) -> tuple[Tensor, Tensor]:
        """What the head receives for each image, float32 [N, D], and the targets [N] or [N, K], of all processes."""
        seen: list[Tensor] = []
        hook = self.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().float()))
        targets: list[np.ndarray] = []
        device = torch.device(self.predictor.device)
        try:
            for batch in self.batches:
                if batch.targets:
                    self.predictor.forward(batch.images.permute(0, 2, 3, 1).numpy())
                    targets += batch.targets
                if stopping():
                    break
        finally:
            hook.remove()
        if any_process(stopping(), self.world, device):
            raise StopRequestedError
        own = (torch.cat(seen).cpu(), torch.from_numpy(np.stack(targets))) if seen else None
        parts = [part for part in all_gather(own, self.world) if part is not None]
        return torch.cat([part[0] for part in parts]).to(device), torch.cat([part[1] for part in parts]).to(device)


def linear_head(net: nn.Module) -> nn.Linear | None:
    """The layer from features to logits; None if the network's head is not one linear layer."""
    head = net.get_classifier() if hasattr(net, "get_classifier") else None  # type: ignore[operator]
    return head if isinstance(head, nn.Linear) and head.bias is not None else None


def few_enough(samples: Sequence[Sample], features: int, outputs: int) -> Sequence[Sample]:
    """Samples spread over all of them, as many as the regression takes in seconds."""
    most = min(MOST_IMAGES, int(MOST_PRODUCTS / (features * outputs)))
    return samples[:: -(-len(samples) // most)] if len(samples) > most > 0 else samples


def fit_head(inputs: Tensor, targets: Tensor, outputs: int, loss: Loss, seed: int) -> Head:
    """The regression with the penalty that predicts images best that it was not fitted on.

    Args:
        inputs: features, float32 [N, D].
        targets: labels, int64 [N], or 1 and 0 for each class, [N, K].
        outputs: the number of classes.
        loss: what the regression minimises, with the penalty.
        seed: of the folds.
    """
    mean, scale = inputs.mean(0), _scale(inputs)
    standard = (inputs - mean) / scale
    fold = _folds(targets, seed)

    def left_out_loss(penalty: float) -> float:
        total = 0.0
        for number in range(FOLDS):
            out = fold == number
            if out.any() and not out.all():
                fitted = _fit(standard[~out], targets[~out], outputs, penalty, loss)
                total += float(loss(functional.linear(standard[out], *fitted), targets[out])) * int(out.sum())
        return total

    weight, bias = _fit(standard, targets, outputs, min(PENALTIES, key=left_out_loss), loss)
    weight = weight / scale
    return Head(weight, bias - weight @ mean)


def _scale(inputs: Tensor) -> Tensor:
    """What each feature is divided by, [D]: its own spread, and the usual one beside it.

    A feature that is all but constant in these images would get a weight of hundreds by its own spread alone, so that
    the encoder's first steps, which change it, change the logits by more than all other features do.
    """
    std = inputs.std(0, correction=0)
    return torch.hypot(std, std.mean()).clamp_min(1e-6)


def _folds(targets: Tensor, seed: int) -> Tensor:
    """The fold of each image, int64 [N]: the images of a class are spread over all folds."""
    keys = targets if targets.ndim == 1 else targets.to(torch.int64) @ torch.arange(targets.shape[1]).to(targets.device)
    order = np.random.default_rng(seed).permutation(len(keys))
    order = order[np.argsort(keys.cpu().numpy()[order], kind="stable")]
    fold = torch.empty(len(keys), dtype=torch.int64)
    fold[torch.from_numpy(order)] = torch.arange(len(keys)) % FOLDS
    return fold.to(targets.device)


@torch.enable_grad()
def _fit(inputs: Tensor, targets: Tensor, outputs: int, penalty: float, loss: Loss) -> Head:
    weight = torch.zeros(outputs, inputs.shape[1], device=inputs.device, requires_grad=True)
    bias = torch.zeros(outputs, device=inputs.device, requires_grad=True)
    solver = torch.optim.LBFGS([weight, bias], max_iter=_ITERATIONS, history_size=10, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        solver.zero_grad()
        value: Tensor = loss(functional.linear(inputs, weight, bias), targets) + penalty / 2 * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    solver.step(closure)  # type: ignore[no-untyped-call]
    return Head(weight.detach(), bias.detach())
