"""Measures what the common denominator of a step's losses costs: our step with our loss, and with torch's plain mean.

    .venv/bin/python benchmarks/losses.py [--pairs 40] [--output benchmarks/results/losses.json]

Both steps take turns in one process, on one batch that is on the device. The plain loss is torch's mean over the batch
with nothing counted before it (`cross_entropy` with `ignore_index`; for two classes of pixels the binary one and Dice
as usual implementations have it). On a CPU the processor's time of one thread is measured, so that other work on the
machine does not count; on a GPU the time until it has finished. `ratio` is the median of the pairs' ratios: 1.01 is a
step that is 1 % slower. It varies by about 1 % from run to run; `share` does not: what our loss takes beyond the plain
one, both without the network, as a share of the plain step.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from common import write
from torch import Tensor

from byoc_vision.models.build import build_model
from byoc_vision.models.losses import Loss, build_loss
from byoc_vision.models.normalized import Normalized
from byoc_vision.precision import choose_precision
from byoc_vision.preprocess import IMAGENET_MEAN, IMAGENET_STD
from byoc_vision.training.optimizers import build_optimizer, build_schedule
from byoc_vision.training.step import Batch, Step
from byoc_vision.types import ModelSpec, Task

IGNORED = 255
LOSS_TURNS = 50


class PlainLoss(Loss):
    """A mean that torch computes, as the share of a step with a single batch."""

    def __init__(self, mean: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self._mean = mean
        self.register_buffer("_one", torch.ones(1, dtype=torch.float64))

    def totals(self, targets: Tensor) -> Tensor:
        return self._one

    def sums(self, logits: Tensor, targets: Tensor) -> Tensor:
        return self._mean(logits.float(), targets)[None]


def plain_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits, targets.long(), ignore_index=IGNORED)


def plain_bce_dice(logits: Tensor, targets: Tensor) -> Tensor:
    logits, counted = logits.squeeze(1), (targets != IGNORED).float()
    target = targets.float() * counted
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    probabilities = torch.sigmoid(logits) * counted
    intersection = (probabilities * target).sum((1, 2))
    areas = probabilities.square().sum((1, 2)) + target.square().sum((1, 2))
    dice = 1 - (2 * intersection + 1) / (areas + 1)
    return (entropy * counted).sum() / counted.sum() + dice.mean()


@dataclass(frozen=True)
class Recipe:
    """cpu, gpu: the images' size and the batch size."""

    spec: ModelSpec
    loss: str
    plain: Callable[[Tensor, Tensor], Tensor]
    cpu: tuple[int, int]
    gpu: tuple[int, int]


def spec(task: Task, architecture: str, outputs: int, encoder: str | None = None) -> ModelSpec:
    return ModelSpec(task=task, architecture=architecture, encoder=encoder, outputs=outputs)


RECIPES = {
    "resnet18, cross_entropy": Recipe(
        spec("classification", "resnet18", 10), "cross_entropy", plain_cross_entropy, (224, 4), (224, 256)
    ),
    "unet_mobilenet_v2, cross_entropy": Recipe(
        spec("segmentation", "unet", 11, "mobilenet_v2"), "cross_entropy", plain_cross_entropy, (256, 2), (512, 32)
    ),
    "unet_mobilenet_v2, bce_dice": Recipe(
        spec("segmentation", "unet", 1, "mobilenet_v2"), "bce_dice", plain_bce_dice, (256, 2), (512, 32)
    ),
}


def batch_of(recipe: Recipe, size: int, count: int, device: torch.device) -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, 3, size, size), dtype=torch.uint8, generator=generator)
    classes = max(2, recipe.spec.outputs)
    if recipe.spec.task == "classification":
        return images.to(device), torch.randint(classes, (count,), generator=generator).to(device)
    masks = torch.randint(classes, (count, size, size), dtype=torch.uint8, generator=generator)
    masks[:, :8] = IGNORED
    return images.to(device), masks.to(device)


def step_of(recipe: Recipe, loss: Loss, device: torch.device) -> Step:
    torch.manual_seed(0)
    net = Normalized(build_model(recipe.spec), IMAGENET_MEAN, IMAGENET_STD).to(device)
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = build_optimizer("adamw", net, 1e-4)
    schedule = build_schedule("constant", optimizer, total_steps=10**6, steps_per_epoch=10**6)
    precision = choose_precision("auto", device)
    step = Step(net, loss.to(device), optimizer, schedule, precision, precision.scaler(), device)
    step.begin()
    return step


def seconds(step: Step, batch: Batch, device: torch.device) -> float:
    if device.type != "cuda":
        started = time.process_time()
        step([batch])
        return time.process_time() - started
    torch.cuda.synchronize()
    started = time.perf_counter()
    step([batch])
    torch.cuda.synchronize()
    return time.perf_counter() - started


def loss_seconds(loss: Loss, logits: Tensor, targets: Tensor, device: torch.device) -> float:
    """Of the denominator, the loss and its gradients, once."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = clock()
    loss(logits, targets, loss.totals(targets)).backward()  # type: ignore[no-untyped-call]
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - started


def measure_losses(recipe: Recipe, losses: dict[str, Loss], targets: Tensor, device: torch.device) -> dict[str, float]:
    """Seconds of each, the median of turns."""
    shape = [len(targets), recipe.spec.outputs, *targets.shape[1:]]
    logits = torch.randn(shape, device=device, requires_grad=True)
    taken: dict[str, list[float]] = {name: [] for name in losses}
    for _ in range(LOSS_TURNS):
        for name, loss in losses.items():
            taken[name].append(loss_seconds(loss, logits, targets, device))
    return {name: statistics.median(values) for name, values in taken.items()}


def measure(recipe: Recipe, pairs: int) -> dict[str, Any]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    size, count = recipe.gpu if device.type == "cuda" else recipe.cpu
    activation = "sigmoid" if recipe.spec.outputs == 1 else "softmax"
    own = build_loss(recipe.loss, activation, task=recipe.spec.task)
    losses = {"ours": own.to(device), "plain": PlainLoss(recipe.plain).to(device)}
    steps = {name: step_of(recipe, loss, device) for name, loss in losses.items()}
    batch = batch_of(recipe, size, count, device)
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for pair in range(pairs + 3):
        names = list(steps) if pair % 2 else list(steps)[::-1]
        for name in names:
            needed = seconds(steps[name], batch, device)
            if pair >= 3:  # the first ones allocate
                taken[name].append(needed)
    alone = measure_losses(recipe, losses, batch[1], device)
    ratios = [ours / plain for ours, plain in zip(taken["ours"], taken["plain"], strict=True)]
    return {
        "size": size,
        "batch_size": count,
        "pairs": pairs,
        "milliseconds": {name: round(1000 * statistics.median(values), 2) for name, values in taken.items()},
        "ratio": round(statistics.median(ratios), 4),
        "loss_milliseconds": {name: round(1000 * value, 3) for name, value in alone.items()},
        "share": round((alone["ours"] - alone["plain"]) / statistics.median(taken["plain"]), 5),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = {}
    for name, recipe in RECIPES.items():
        results[name] = measure(recipe, options.pairs)
        print(f"{name}: {results[name]}", flush=True)
        write(options.output, {"recipes": results})


if __name__ == "__main__":
    main()
